"""Does a plain network of 56 layers train without shortcuts, from other initializations?

Delta-orthogonal kernels (Xiao et al., 2018), Dirac kernels with a little noise, and the kernels of
Dirac networks (Zagoruyko and Komodakis, 2017), which have the same values at initialization but are
learned as diag(a) δ + diag(b) v. With batch normalization and without; without it also with tanh in
place of ReLU, which the theory of delta-orthogonal kernels is about. ResNet-56 is for comparison.
The initialization concerns the blocks' convolutions; the stem has its usual one. Weight decay is
on a and b, too, which the paper leaves without. Images, batches and rates are those of
`branch_scaling`, and so is what is compared, the training loss.

    python -m resnets run without_shortcuts --scale hour --seed 0
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from resnets.data import ImageSet
from resnets.device import check_scale
from resnets.experiments import resumable
from resnets.experiments.branch_scaling import RATES, SHORT, Config, at_each_rate
from resnets.models import (
    ResNet,
    add_dirac_weights,
    block_convolutions,
    cifar_resnet,
    delta_orthogonal_,
    fold_dirac_weights,
)
from resnets.runs import Run

LONG = replace(SHORT, epochs=6)
CONFIGS = {
    "quick": Config((56,), 960, "imagenet", RATES[1:2], SHORT),
    "hour": Config((56,), 1_280, "imagenet", RATES, LONG),
    "full": Config((56,), 60_000, "stride1", RATES, LONG),
}


def delta_orthogonal(net: ResNet, gain: float) -> ResNet:
    """Make all kernels of the blocks delta-orthogonal, in place."""
    for conv in block_convolutions(net):
        delta_orthogonal_(conv.weight, gain)
    return net


@torch.no_grad()
def random_for_tanh(net: ResNet) -> ResNet:
    """Make all kernels of the blocks normal with variance 1 / fan-in, in place."""
    for conv in block_convolutions(net):
        nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
    return net


def with_tanh(net: ResNet) -> nn.Sequential:
    """The layers of a plain network without normalization, with tanh in place of each ReLU."""
    layers = [net.conv1, nn.Tanh(), net.maxpool]
    for conv in block_convolutions(net):
        layers += [conv, nn.Tanh()]
    return nn.Sequential(*layers, net.avgpool, nn.Flatten(), net.fc)


def networks(depth: int, stem: str) -> dict[str, Callable[[], nn.Module]]:
    """How to build each network of one depth, for gray images and ten classes."""
    build = partial(cifar_resnet, depth, stem=stem, in_channels=1, num_classes=10)
    plain = partial(build, shortcut="none")
    bare = partial(plain, batch_norm=False)
    gain = nn.init.calculate_gain("relu")
    return {
        "BN, usual": plain,
        "BN, delta-orthogonal": lambda: delta_orthogonal(plain(), gain),
        "BN, Dirac": lambda: fold_dirac_weights(add_dirac_weights(plain())),
        "BN, DiracNet": lambda: add_dirac_weights(plain()),
        "usual": bare,
        "delta-orthogonal": lambda: delta_orthogonal(bare(), gain),
        "Dirac": lambda: fold_dirac_weights(add_dirac_weights(bare())),
        "DiracNet": lambda: add_dirac_weights(bare()),
        "tanh, random": lambda: with_tanh(random_for_tanh(bare())),
        "tanh, delta-orthogonal": lambda: with_tanh(delta_orthogonal(bare(), 1.0)),
        "BN, shortcuts": build,
    }


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train each network at each rate; `final` has the mean loss of the last epoch's batches.

    The names are such as "BN, Dirac at 0.03". `measured["diverged"]` is `branch_scaling`'s.
    """
    config = CONFIGS[check_scale(scale)]
    (depth,) = config.depths
    builds = networks(depth, config.stem)
    return at_each_rate("without_shortcuts", scale, seed, config, builds, data, checkpoints)
