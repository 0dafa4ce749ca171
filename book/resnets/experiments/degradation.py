"""Degradation: plain and residual networks of depth 20 and 56, trained alike.

After He et al. (2016a), section 4.2 and figure 6. No augmentation, and the paper's weight
decay of 1e-4: the question is how well each fits its *training* set. Of three
learning rates, 0.05 has the lowest mean loss for both deep networks at `quick` (`learning_rates`).

    python -m resnets run degradation --scale hour --seed 0
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from resnets.data import ImageSet
from resnets.device import check_scale
from resnets.experiments import resumable, run_side_by_side
from resnets.models import ResNet, cifar_resnet
from resnets.runs import Run
from resnets.training import Recipe

NETWORKS = ("plain-20", "plain-56", "ResNet-20", "ResNet-56")


@dataclass(frozen=True)
class Config:
    images: int
    test_images: int
    stem: str
    recipe: Recipe


CONFIGS = {
    "quick": Config(10_000, 10_000, "stride2", Recipe(epochs=2, lr=0.05, weight_decay=1e-4)),
    "hour": Config(10_000, 10_000, "stride2", Recipe(epochs=20, lr=0.05, weight_decay=1e-4)),
    "full": Config(60_000, 10_000, "stride1", Recipe(epochs=10, lr=0.05, weight_decay=1e-4)),
}


def network(name: str, stem: str) -> ResNet:
    """ "plain-20", "ResNet-110" and so on, for gray images and ten classes."""
    kind, depth = name.split("-")
    shortcut = {"plain": "none", "ResNet": "identity"}[kind]
    return cifar_resnet(int(depth), shortcut=shortcut, stem=stem, in_channels=1, num_classes=10)


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train the four networks; `final` has their errors, last epoch (`run_side_by_side`)."""
    config = CONFIGS[check_scale(scale)]
    networks = {name: partial(network, name, config.stem) for name in NETWORKS}
    return run_side_by_side("degradation", scale, seed, config, networks, data, checkpoints)
