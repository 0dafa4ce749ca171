"""ResNet-110 and ResNet-1202, with blocks that start at random and blocks that start at zero.

After He et al. (2016a), section 4.2, "Exploring over 1000 layers". Up to `hour` the stem reduces
the images to 7×7, so that more than a thousand layers fit into minutes. The learning rate is that
of `degradation`.

    python -m resnets run thousand_layers --scale hour --seed 0
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from resnets.data import ImageSet
from resnets.device import check_scale
from resnets.experiments import resumable, run_side_by_side
from resnets.models import cifar_resnet
from resnets.runs import Run
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


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train the networks; `final` has their errors, last epoch (`run_side_by_side`).

    The names are such as "ResNet-1202, zero start".
    """
    config = CONFIGS[check_scale(scale)]
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
    return run_side_by_side("thousand_layers", scale, seed, config, networks, data, checkpoints)
