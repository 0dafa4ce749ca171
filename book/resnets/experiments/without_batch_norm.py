"""Plain and residual networks without batch normalization, and initializations in its place.

Each network is trained at each of several learning rates, because the best ones differ. Training
loss is compared: the question is whether the network can be trained. The rates were chosen in a
trial with another seed; in batches of 128 none of the networks without normalization came far.

    python -m resnets run without_batch_norm --scale hour --seed 0
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from resnets.data import ImageSet
from resnets.device import check_scale
from resnets.experiments import resumable
from resnets.experiments.branch_scaling import RATES, SHORT, Config, at_each_rate
from resnets.models import cifar_resnet, fixup_resnet
from resnets.runs import Run

LONG = replace(SHORT, epochs=6)
CONFIGS = {
    "quick": Config((20,), 2_560, "stride2", RATES[:1], SHORT),
    "hour": Config((20, 56), 2_560, "stride2", RATES, LONG),
    "full": Config((20, 56, 110), 60_000, "stride1", RATES, LONG),
}


def networks(depth: int, stem: str) -> dict[str, Callable[[], nn.Module]]:
    """How to build each network of one depth, for gray images and ten classes."""
    build = partial(cifar_resnet, depth, stem=stem, in_channels=1, num_classes=10)
    without = partial(build, batch_norm=False)
    fixup = partial(fixup_resnet, depth, stem=stem, in_channels=1, num_classes=10)
    return {
        f"plain-{depth}": partial(build, shortcut="none"),
        f"plain-{depth}, no BN": partial(without, shortcut="none"),
        f"ResNet-{depth}": build,
        f"ResNet-{depth}, no BN": without,
        f"ResNet-{depth}, no BN, zero start": partial(without, zero_init_residual=True),
        f"ResNet-{depth}, no BN, Fixup": fixup,
    }


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train each network at each rate; `final` has the mean loss of the last epoch's batches.

    The names are such as "ResNet-20, no BN at 0.03". `measured["diverged"]` has the networks
    whose loss became infinite (network, why); they have no history.
    """
    config = CONFIGS[check_scale(scale)]
    builds = [pair for depth in config.depths for pair in networks(depth, config.stem).items()]
    return at_each_rate("without_batch_norm", scale, seed, config, dict(builds), data, checkpoints)
