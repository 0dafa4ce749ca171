"""ResNet-18 on Fashion-MNIST, at each scale with the recipe that was chosen for it.

The recipe for `quick` was chosen on images held out of the training set (chapter 3), the one
for `hour` is its longer form at a rate that was not tuned, and the one for `full` has not been
measured yet. Here the network trains on the
whole training set, or on the scale's part of it, and sees the test set once, at the end.

    python -m resnets run fashion --scale full --seed 0
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from resnets.data import ImageSet, fashion_mnist
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.models import ResNet, resnet18
from resnets.runs import Run, new_run
from resnets.training import Recipe, evaluate, fit


@dataclass(frozen=True)
class Config:
    images: int
    stem: str
    recipe: Recipe


CONFIGS = {
    "quick": Config(20_000, "imagenet", Recipe(epochs=2, lr=0.05, label_smoothing=0.1)),
    "hour": Config(60_000, "imagenet", Recipe(epochs=5, label_smoothing=0.1)),
    "full": Config(60_000, "stride1", Recipe(epochs=30, label_smoothing=0.1, augment=True)),
}


@resumable
def train(
    scale: str,
    seed: int,
    images: ImageSet,
    checkpoints: Path | None = None,
) -> tuple[ResNet, list[dict[str, float]]]:
    """Train the scale's network on the scale's part of `images`; return it and its history."""
    config = CONFIGS[check_scale(scale)]
    seed_everything(seed)
    model = resnet18(in_channels=1, num_classes=10, stem=config.stem)
    history = fit(
        model,
        images[: config.images],
        config.recipe,
        seed=seed,
        checkpoint=checkpoints and checkpoints / "ResNet-18.pt",
        label="ResNet-18",
    )
    return model, history


def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train and test once; `final` has the last epoch's `test_accuracy` and losses."""
    device = best_device()
    images, test = (part.to(device) for part in data or fashion_mnist())
    model, history = train(scale, seed, images, checkpoints)
    test_loss, test_accuracy = evaluate(model, test)
    return new_run(
        name="fashion",
        scale=scale,
        seed=seed,
        config=asdict(CONFIGS[scale]),
        data=images.source,
        history={"ResNet-18": history},
        final={
            "test_accuracy": test_accuracy,
            "test_loss": test_loss,
            "train_loss": history[-1]["train_loss"],
        },
        device=device,
    )
