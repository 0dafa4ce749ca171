"""GPT-2's start: the last layer of each of the 2N sublayers begins 1/√(2N) times as large.

The deepest transformers of `transformer_depth`, pre-norm and post-norm, with this start. The
images, the recipe, the rates and the seeds are the same, so that a run compares with its runs.

    python -m resnets run transformer_start --scale hour --seed 0
"""

from functools import partial
from pathlib import Path

from resnets.data import ImageSet
from resnets.device import check_scale
from resnets.experiments import resumable
from resnets.experiments.transformer_depth import CONFIGS, PLACES, compare
from resnets.runs import Run
from resnets.transformer import Transformer


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train both networks, by each schedule, at each rate; see `transformer_depth.compare`."""
    config = CONFIGS[check_scale(scale)]
    blocks = max(config.blocks)
    builds = {
        f"{place}-{blocks}": partial(Transformer, blocks, norm_first, scaled_start=True)
        for place, norm_first in PLACES.items()
    }
    return compare("transformer_start", scale, seed, config, builds, data, checkpoints)
