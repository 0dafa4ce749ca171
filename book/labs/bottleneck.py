"""What the lab *Bottleneck* shows: the library's two blocks, counted and measured with PyTorch."""

import torch
from torch import nn

from resnets import models, probes

SIDE = 56


def block(kind: str, channels: int) -> nn.Module:
    """A "basic" block or a "bottleneck" with as many channels before and after."""
    if kind == "basic":
        return models.BasicBlock(channels, channels)
    return models.Bottleneck(channels, channels // 4)


def costs(kind: str, channels: int) -> tuple[int, int, int]:
    """Weights of the convolutions, multiply-adds, and bytes kept for the backward pass."""
    with torch.device("meta"):
        layers, x = block(kind, channels), torch.empty(1, channels, SIDE, SIDE)
    convolutions = [layer for layer in layers.modules() if isinstance(layer, nn.Conv2d)]
    weights = sum(layer.weight.numel() for layer in convolutions)
    with probes.Memory() as memory:
        y = layers(x)
        kept = memory.alive
    del y
    return weights, probes.multiply_adds(layers, channels, SIDE, SIDE), kept


def table() -> str:
    """The figure that stands where there is no lab."""
    rows = ["| block | channels | weights | million multiply-adds | MB kept |", "|---" * 5 + "|"]
    for kind, channels in (
        ("basic", 64),
        ("bottleneck", 64),
        ("bottleneck", 128),
        ("bottleneck", 256),
        ("bottleneck", 512),
    ):
        weights, work, kept = costs(kind, channels)
        rows.append(f"| {kind} | {channels} | {weights:,} | {work / 1e6:.1f} | {kept / 1e6:.2f} |")
    return "\n".join(rows)
