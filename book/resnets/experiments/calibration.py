"""What label smoothing does to a network's confidence, on images held out of the training set.

ResNet-18 by the recipe of chapter 3 with and without label smoothing, from the same weights, on the
same images in the same order. The test set is not touched.

    python -m resnets run calibration --scale hour --seed 0
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch.nn import functional as F

from resnets.calibration import expected_error, overconfidence, reliability
from resnets.data import ImageSet, fashion_mnist, split
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.experiments.fashion_steps import HELD_OUT
from resnets.models import resnet18
from resnets.runs import Run, new_run
from resnets.small_maps import specialize
from resnets.training import Recipe, fit, predict


@dataclass(frozen=True)
class Config:
    """A network for each value of `smoothing`."""

    images: int
    recipe: Recipe
    smoothing: tuple[float, ...] = (0.0, 0.1)


CONFIGS = {
    "quick": Config(5_000, Recipe(epochs=2, lr=0.05)),
    "hour": Config(20_000, Recipe(epochs=4, lr=0.05)),
    "full": Config(55_000, Recipe(epochs=10, lr=0.05)),
}


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train each network; `final` has its held-out `accuracy`, `log_loss`, `calibration_error`, and
    `overconfidence`. The measured table "bins" has `reliability` of each."""
    config, device = CONFIGS[check_scale(scale)], best_device()
    images = (data or fashion_mnist())[0].to(device)
    train, validation = split(images, min(HELD_OUT, len(images) // 5))
    train = train[: config.images]
    history, final, bins = {}, {}, []
    for smoothing in config.smoothing:
        name = f"label smoothing {smoothing}"
        seed_everything(seed)
        net = resnet18(in_channels=1, num_classes=10)
        history[name] = fit(
            specialize(net, 1, *train.images.shape[-2:]),
            train,
            replace(config.recipe, label_smoothing=smoothing),
            seed=seed,
            checkpoint=checkpoints and checkpoints / f"{name}.pt",
            label=name,
        )
        logits = predict(net, validation)
        rows = reliability(logits, validation.labels)
        bins += [{"network": name, **row} for row in rows]
        final[name] = {
            "accuracy": (logits.argmax(1) == validation.labels).float().mean().item(),
            "log_loss": F.cross_entropy(logits, validation.labels).item(),
            "calibration_error": expected_error(rows),
            "overconfidence": overconfidence(rows),
        }
    return new_run(
        name="calibration",
        scale=scale,
        seed=seed,
        config=asdict(config) | {"held_out": len(validation)},
        data=train.source,
        history=history,
        final=final,
        measured={"bins": bins},
        device=device,
    )
