"""Where a bottleneck has its stride: on the first 1×1 (v1) or on the 3×3 (v1.5).

Two networks with ResNet-50's blocks, trained side by side; up to `hour` with a quarter of its
channels. The learning rate is that of `degradation`; it was not tuned here.

    python -m resnets run stride --scale hour --seed 0
"""

from functools import partial
from pathlib import Path

from resnets.data import ImageSet
from resnets.device import check_scale
from resnets.experiments import resumable, run_side_by_side
from resnets.experiments.shortcuts import CONFIGS
from resnets.models import Bottleneck, imagenet_resnet
from resnets.runs import Run

VERSIONS = {"v1": "1x1", "v1.5": "3x3"}


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train the two networks; `final` has their errors, last epoch (`run_side_by_side`)."""
    config = CONFIGS[check_scale(scale)]
    options = {"widths": config.widths, "stem": config.stem, "in_channels": 1, "num_classes": 10}
    networks = {
        name: partial(
            imagenet_resnet, 50, block=partial(Bottleneck, stride_on=stride_on), **options
        )
        for name, stride_on in VERSIONS.items()
    }
    return run_side_by_side("stride", scale, seed, config, networks, data, checkpoints)
