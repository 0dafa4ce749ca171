"""ResNet-110 and ResNet-1202, with blocks that start at random and blocks that start at zero.

After He et al. (2016a), section 4.2, "Exploring over 1000 layers". Up to `hour` the stem reduces
the images to 7×7, so that more than a thousand layers fit into minutes. The learning rate is that
of `degradation`.

    python -m resnets run thousand_layers --scale hour --seed 0
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from resnets.data import ImageSet, fashion_mnist
from resnets.device import best_device, check_scale
from resnets.experiments import train_side_by_side
from resnets.models import cifar_resnet
from resnets.runs import Run, new_run
from resnets.training import Recipe


@dataclass(frozen=True)
class Config:
    depths: tuple[int, ...]
    starts: tuple[str, ...]
    images: int
    test_images: int
    stem: str
    recipe: Recipe


BOTH = ("random start", "zero start")
SHORT = Recipe(epochs=2, batch_size=32, lr=0.05, weight_decay=1e-4)
HOUR = Recipe(epochs=10, batch_size=64, lr=0.05, weight_decay=1e-4)
FULL = Recipe(epochs=10, lr=0.05, weight_decay=1e-4)
CONFIGS = {
    "quick": Config((1202,), BOTH[1:], 384, 200, "imagenet", SHORT),
    "hour": Config((110, 1202), BOTH, 1_280, 2_000, "imagenet", HOUR),
    "full": Config((110, 1202), BOTH, 60_000, 10_000, "stride2", FULL),
}


def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train the networks; `final` has their errors, last epoch (`train_side_by_side`).

    The names are such as "ResNet-1202, zero start".
    """
    config, device = CONFIGS[check_scale(scale)], best_device()
    train, test = (part.to(device) for part in data or fashion_mnist())
    networks = {
        f"ResNet-{depth}, {start}": partial(
            cifar_resnet,
            depth,
            zero_init_residual=start == "zero start",
            stem=config.stem,
            in_channels=1,
            num_classes=10,
        )
        for depth in config.depths
        for start in config.starts
    }
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
