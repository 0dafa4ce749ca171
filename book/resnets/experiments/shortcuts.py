"""The shortcut options A, B and C, trained side by side in a network with ResNet-34's blocks.

After He et al. (2016a), section 4.1 and table 3. Up to `hour` the network has a quarter of
ResNet-34's channels. The learning rate is that of `degradation`; it was not tuned here.

    python -m resnets run shortcuts --scale hour --seed 0
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from resnets.data import ImageSet
from resnets.device import check_scale
from resnets.experiments import resumable, run_side_by_side
from resnets.models import imagenet_resnet
from resnets.runs import Run
from resnets.training import Recipe

OPTIONS = {"A": "identity", "B": "projection", "C": "all-projections"}


@dataclass(frozen=True)
class Config:
    images: int
    test_images: int
    widths: tuple[int, ...]
    stem: str
    recipe: Recipe


QUARTER, WHOLE = (16, 32, 64, 128), (64, 128, 256, 512)
CONFIGS = {
    "quick": Config(3_000, 2_000, QUARTER, "stride2", Recipe(epochs=2, batch_size=64, lr=0.05)),
    "hour": Config(20_000, 10_000, QUARTER, "stride2", Recipe(epochs=5, lr=0.05)),
    "full": Config(60_000, 10_000, WHOLE, "stride1", Recipe(epochs=10, lr=0.05)),
}


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train the three networks; `final` has their errors, last epoch (`run_side_by_side`)."""
    config = CONFIGS[check_scale(scale)]
    options = {"widths": config.widths, "stem": config.stem, "in_channels": 1, "num_classes": 10}
    networks = {
        name: partial(imagenet_resnet, 34, shortcut=kind, **options)
        for name, kind in OPTIONS.items()
    }
    return run_side_by_side("shortcuts", scale, seed, config, networks, data, checkpoints)
