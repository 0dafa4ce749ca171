"""What enlarging the images brings, at equal epochs and in equal time: ResNet-18, 28×28 and 96×96.

The same images, enlarged as d2l's lesson does, and the same recipe. In the time of an epoch at
96×96 two cores train about eight at 28×28 (chapter 3 measures it). Judged on held-out images.

    python -m resnets run image_size --scale quick --seed 0
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch.nn import functional as F

from resnets.data import ImageSet, fashion_mnist, split
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.models import resnet18
from resnets.runs import Run, new_run
from resnets.training import Recipe, fit

HELD_OUT = 5_000


@dataclass(frozen=True)
class Config:
    """`enlarged` images have so many pixels a side; `longer` times as many epochs fill the time."""

    images: int
    recipe: Recipe
    enlarged: int = 96
    longer: int = 8


CONFIGS = {
    "quick": Config(5_000, Recipe(epochs=2, lr=0.05)),
    "hour": Config(20_000, Recipe(epochs=2, lr=0.05)),
    "full": Config(55_000, Recipe(epochs=4, lr=0.05)),
}


def enlarge(images: ImageSet, size: int) -> ImageSet:
    """Bilinear, as torchvision's `Resize` of an image of PIL, but for one gray level in 256."""
    parts = images.images.unsqueeze(1).split(1_000)
    larger = [F.interpolate(part.float(), (size, size), mode="bilinear") for part in parts]
    pixels = torch.cat([part.round().to(torch.uint8)[:, 0] for part in larger])
    return replace(images, images=pixels)


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train the network three times from the same seed.

    `final` has the last epoch's `validation_accuracy`, and the `seconds` of the whole training.
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    images = (data or fashion_mnist())[0].to(device)
    train, validation = split(images, min(HELD_OUT, len(images) // 5))
    small = train[: config.images], validation
    large = tuple(enlarge(part, config.enlarged) for part in small)
    longer = replace(config.recipe, epochs=config.longer * config.recipe.epochs)
    trainings = {
        "enlarged": (*large, config.recipe),
        "28×28, as many epochs": (*small, config.recipe),
        "28×28, about as long": (*small, longer),
    }
    history = {}
    for name, (trained, judged, recipe) in trainings.items():
        seed_everything(seed)
        history[name] = fit(
            resnet18(in_channels=1, num_classes=10),
            trained,
            recipe,
            seed=seed,
            validation=judged,
            checkpoint=checkpoints and checkpoints / f"{name}.pt",
            label=name,
        )
    figures = ("validation_accuracy", "seconds")
    return new_run(
        name="image_size",
        scale=scale,
        seed=seed,
        config=asdict(config) | {"held_out": len(validation)},
        data=train.source,
        history=history,
        final={n: {key: rows[-1][key] for key in figures} for n, rows in history.items()},
        device=device,
    )
