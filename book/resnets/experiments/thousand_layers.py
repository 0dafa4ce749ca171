"""ResNet-1202 and ResNet-110, trained alike.

After He et al. (2016a), section 4.2, "Exploring over 1000 layers". Up to `hour` the stem reduces
the images to 7×7, so that more than a thousand layers fit into minutes.

    python -m resnets run thousand_layers --scale hour --seed 0
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from resnets.data import ImageSet, fashion_mnist
from resnets.device import best_device, check_scale
from resnets.experiments import train_side_by_side
from resnets.experiments.degradation import network
from resnets.runs import Run, new_run
from resnets.training import Recipe


@dataclass(frozen=True)
class Config:
    networks: tuple[str, ...]
    images: int
    test_images: int
    stem: str
    recipe: Recipe


BOTH = ("ResNet-110", "ResNet-1202")
RECIPE = Recipe(epochs=8, lr=0.02, weight_decay=1e-4)
CONFIGS = {
    "quick": Config(BOTH[1:], 640, 500, "imagenet", Recipe(1, 32, lr=0.02, weight_decay=1e-4)),
    "hour": Config(BOTH, 2_560, 2_000, "imagenet", RECIPE),
    "full": Config(BOTH, 60_000, 10_000, "stride2", Recipe(20, lr=0.05, weight_decay=1e-4)),
}


def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train the networks; `final` has their errors, last epoch (`train_side_by_side`)."""
    config, device = CONFIGS[check_scale(scale)], best_device()
    train, test = (part.to(device) for part in data or fashion_mnist())
    networks = {name: partial(network, name, config.stem) for name in config.networks}
    _, history, final = train_side_by_side(
        networks,
        train[: config.images],
        test[: config.test_images],
        config.recipe,
        seed,
        checkpoints,
    )
    return new_run(
        name="thousand_layers",
        scale=scale,
        seed=seed,
        config=asdict(config),
        data=train.source,
        history=history,
        final=final,
        device=device,
    )
