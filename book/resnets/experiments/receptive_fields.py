"""How much of its receptive field a trained network uses: Luo et al. (2016), section 3.

Residual networks learn to classify; then the influence of the pixels on their middle feature is
measured on mosaics of test images, which are larger than what the feature can see.

    python -m resnets run receptive_fields --scale hour --seed 0
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from resnets import probes
from resnets.data import ImageSet, LabeledScenes, fashion_mnist
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.experiments.degradation import network
from resnets.models import ResNet
from resnets.runs import Run, new_run
from resnets.training import Recipe, evaluate, fit

SHARES = (0.5, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Config:
    networks: tuple[str, ...]
    images: int
    test_images: int
    mosaics: int
    recipe: Recipe


RECIPE = Recipe(epochs=5, lr=0.05, weight_decay=1e-4)
CONFIGS = {
    "quick": Config(("ResNet-20",), 5_000, 2_000, 4, RECIPE),
    "hour": Config(("ResNet-20", "ResNet-56"), 10_000, 10_000, 10, RECIPE),
    "full": Config(("ResNet-20", "ResNet-56", "ResNet-110"), 60_000, 10_000, 10, RECIPE),
}


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train each network.

    `final`: training loss and test accuracy. `measured["sides"]`, for each network, before and
    after training, on mosaics and on noise: what the middle feature `can_see`, the side of its
    receptive field, and for each of `SHARES` the side of the square with this share of the
    influence.
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    train, test = (part.to(device) for part in data or fashion_mnist())
    train, test = train[: config.images], test[: config.test_images]
    history, final, sides = {}, {}, []
    for name in config.networks:
        seed_everything(seed)
        model = network(name, "stride2").to(device)
        can_see = receptive_field(model)
        images = mosaics(test, can_see, config.mosaics, seed)
        inputs = {"images": images, "noise": torch.randn_like(images)}
        for trained in (False, True):
            if trained:
                history[name] = fit(
                    model,
                    train,
                    config.recipe,
                    seed=seed,
                    checkpoint=checkpoints and checkpoints / f"{name}.pt",
                    label=f"{name:9}",
                )
            for kind, x in inputs.items():
                found = measure(model, x)
                row = {"network": name, "trained": trained, "input": kind, "can_see": can_see}
                sides += [row | {"share": share, "side": side} for share, side in found.items()]
        final[name] = {
            "train_loss": history[name][-1]["train_loss"],
            "test_accuracy": evaluate(model, test)[1],
        }
    return new_run(
        name="receptive_fields",
        scale=scale,
        seed=seed,
        config=asdict(config),
        data=train.source,
        history=history,
        final=final,
        measured={"sides": sides},
        device=device,
    )


def receptive_field(model: ResNet) -> int:
    """Side of the square of pixels that one of the last stage's features can see."""
    return probes.receptive_field(on_the_path(model))[0]


def on_the_path(model: nn.Module) -> list[nn.Module]:
    """The modules that a signal passes through all layers, without those of the shortcuts."""
    return [module for name, module in model.named_modules() if "downsample" not in name]


def mosaics(images: ImageSet | LabeledScenes, can_see: int, count: int, seed: int) -> Tensor:
    """Images side by side, drawn at random, normalized: (count, C, S, S) with S ≥ `can_see`.

    On the device of `images`, which are square. S is 16m+1, so that of features 8 pixels apart the
    middle one lies on the middle pixel.
    """
    side = -(-(can_see - 1) // 16) * 16 + 1
    height = images.images.shape[-1]
    tiles = -(-side // height)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(images), (count * tiles**2,), generator=generator)
    x, _ = images.batch(chosen.to(images.labels.device))
    x = x.unflatten(0, (count, tiles, tiles)).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(count, -1, tiles * height, tiles * height)[:, :, :side, :side].contiguous()


def measure(model: ResNet, x: Tensor) -> dict[float, int]:
    """For each of `SHARES` the side of the square around the middle that has it."""

    def features(x: Tensor) -> Tensor:
        *_, last = model.stage_outputs(x)
        return last

    model.eval()
    influence = probes.influence(features, x)
    return {share: probes.side_of(influence, share) for share in SHARES}
