"""Does a warm-up mend plain-110, whose gradient vanishes in training? As `warm_up`, deeper.

The images, the recipe and the seeds of `degradation_110`.

    python -m resnets run warm_up_110 --scale hour --seed 0
"""

from pathlib import Path

from resnets.data import ImageSet
from resnets.device import check_scale
from resnets.experiments import degradation_110, resumable
from resnets.experiments.warm_up import train_warmed_up
from resnets.runs import Run

NETWORK = "plain-110"
CONFIGS = degradation_110.CONFIGS


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Warm the network up and train it; what is returned is `train_warmed_up`'s."""
    config = CONFIGS[check_scale(scale)]
    return train_warmed_up("warm_up_110", NETWORK, scale, seed, config, data, checkpoints)
