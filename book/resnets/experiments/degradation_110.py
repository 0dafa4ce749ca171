"""Degradation at depth 110: the recipe and the images of `degradation`, almost twice as deep.

He et al. (2016a), section 4.2: their ResNet-110 did not start to converge at the full rate of 0.1,
and was warmed up. Here every rate rises over the first quarter of the steps.

    python -m resnets run degradation_110 --scale hour --seed 0
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from resnets.data import ImageSet
from resnets.device import check_scale
from resnets.experiments import degradation, resumable, run_side_by_side
from resnets.runs import Run

NETWORKS = ("plain-110", "ResNet-110")
HOUR = degradation.CONFIGS["hour"]
# Half as many epochs, which take as long.
CONFIGS = degradation.CONFIGS | {"hour": replace(HOUR, recipe=replace(HOUR.recipe, epochs=10))}


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train both networks; `final` has their errors, last epoch (`run_side_by_side`)."""
    config = CONFIGS[check_scale(scale)]
    networks = {name: partial(degradation.network, name, config.stem) for name in NETWORKS}
    return run_side_by_side("degradation_110", scale, seed, config, networks, data, checkpoints)
