"""Shortcuts that scale, gate, convolve or drop, beside the identity and beside concatenation.

After He et al. (2016b), section 3.1 and table 1: what is on the shortcut instead of the identity.
Gates on both branches are those of a highway network (Srivastava et al., 2015). The last network is
a DenseNet (Huang et al., 2017, with bottleneck layers; torchvision's), which concatenates instead
of adding; it has as many layers and about as many multiply-adds. The learning rate is that of
`degradation`; it was not tuned here. The stem reduces the images to 7×7.

    python -m resnets run shortcut_kinds --scale hour --seed 0
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from resnets.data import ImageSet, fashion_mnist
from resnets.device import best_device, check_scale
from resnets.experiments import resumable, run_side_by_side
from resnets.models import GatedBlock, ResNet, cifar_resnet
from resnets.probes import blocks
from resnets.runs import Run
from resnets.training import Recipe

GROWTH = 14  # channels that a layer of the DenseNet adds
LOOKED_AT = 500  # training images on which the gates are measured


@dataclass(frozen=True)
class Config:
    depth: int
    images: int
    test_images: int
    stem: str
    recipe: Recipe


SHORT = Recipe(epochs=1, batch_size=64, lr=0.05, weight_decay=1e-4)
CONFIGS = {
    "quick": Config(20, 1_920, 2_000, "imagenet", SHORT),
    "hour": Config(56, 5_000, 10_000, "imagenet", replace(SHORT, epochs=5)),
    "full": Config(110, 60_000, 10_000, "stride1", replace(SHORT, epochs=10)),
}


class Half(nn.Module):
    """Half of its input, of any shape."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 2


def halved(net: ResNet, layers: bool) -> ResNet:
    """Halve each block's shortcut, and its layers too or not."""
    for block in blocks(net).values():
        block.downsample = nn.Sequential(block.downsample, Half())
        if layers:
            block.bn2 = nn.Sequential(block.bn2, Half())
    return net


def dropped(net: ResNet) -> ResNet:
    """Put dropout on each shortcut, at the rate 0.5."""
    for block in blocks(net).values():
        block.downsample = nn.Sequential(block.downsample, nn.Dropout(0.5))
    return net


def densenet(depth: int, stem: str) -> nn.Module:
    """A DenseNet of three dense blocks, with as many layers in them as the ResNet of this depth."""
    # Here, since torchvision takes longer to import than all the rest.
    from torchvision.models import DenseNet

    start = cifar_resnet(8, stem=stem, in_channels=1)
    net = DenseNet(GROWTH, ((depth - 2) // 6,) * 3, start.conv1.out_channels, num_classes=10)
    net.features.conv0, net.features.pool0 = start.conv1, start.maxpool
    return net


def networks(depth: int, stem: str) -> dict[str, Callable[[], nn.Module]]:
    """How to build each network, for gray images and ten classes, by what is on its shortcuts."""
    build = partial(cifar_resnet, depth, stem=stem, in_channels=1, num_classes=10)

    def gated(gates_layers: bool, bias: float) -> ResNet:
        return build(block=partial(GatedBlock, gates_layers=gates_layers, gate_bias=bias))

    return {
        "identity": build,
        "none": partial(build, shortcut="none"),
        "half": lambda: halved(build(), layers=False),
        "half, half the layers": lambda: halved(build(), layers=True),
        "gates on both, bias 0": partial(gated, True, 0.0),
        "gates on both, bias -6": partial(gated, True, -6.0),
        "gate, bias 0": partial(gated, False, 0.0),
        "gate, bias -6": partial(gated, False, -6.0),
        "1×1 convolution": partial(build, shortcut="all-projections"),
        "dropout": lambda: dropped(build()),
        "DenseNet": partial(densenet, depth, stem),
    }


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train the networks; `final` has their errors, last epoch (`run_side_by_side`).

    `measured["gates"]` has for each block of the networks with gates, on training images, the mean
    of 1 − g, what is left of the shortcut, before training and after it.
    """
    config = CONFIGS[check_scale(scale)]
    train, test = data or fashion_mnist()
    x, _ = train[: min(LOOKED_AT, config.images)].to(best_device()).batch(slice(None))
    built, gates = {}, []

    def keep(name: str, build: Callable[[], nn.Module]) -> nn.Module:
        built[name] = build().to(x.device)
        new = copy.deepcopy(built[name]).train()  # of its own, for the running statistics
        gates.extend(open_shortcuts(name, new, x, trained=False))
        return built[name]

    builds = networks(config.depth, config.stem)
    builds = {name: partial(keep, name, build) for name, build in builds.items()}
    result = run_side_by_side(
        "shortcut_kinds", scale, seed, config, builds, (train, test), checkpoints
    )
    for name, net in built.items():
        gates.extend(open_shortcuts(name, net, x, trained=True))
    return replace(result, measured={"gates": gates})


@torch.no_grad()
def open_shortcuts(name: str, net: nn.Module, x: torch.Tensor, trained: bool) -> list[dict]:
    """A row for each gated block: the mean of 1 − g on images `x` (N, 1, H, W)."""
    rows, hooks = [], []

    def look(block: str) -> Callable:
        def hook(gate: nn.Module, arguments: tuple, output: torch.Tensor) -> None:
            share = 1 - torch.sigmoid(output).mean().item()
            row = {"network": name, "trained": trained, "block": block, "open": share}
            rows.append(row)

        return hook

    for block, module in blocks(net).items():
        if isinstance(module, GatedBlock):
            hooks.append(module.gate.register_forward_hook(look(block)))
    if hooks:
        net(x)
    for hook in hooks:
        hook.remove()
    return rows
