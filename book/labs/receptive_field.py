"""What the lab *Receptive field* shows, computed with PyTorch's convolutions and its gradient."""

import torch
from torch import Tensor, nn

from resnets import probes

STACKS = {
    "two 3×3": ((3, 1, 1),) * 2,
    "six 3×3": ((3, 1, 1),) * 6,
    "four 3×3, the first and third with stride 2": ((3, 2, 1), (3, 1, 1)) * 2,
    "three 3×3 with dilations 1, 2, 4": ((3, 1, 1), (3, 1, 2), (3, 1, 4)),
    "four 3×3 with dilation 2": ((3, 1, 2),) * 4,
    "one 7×7": ((7, 1, 1),),
}


def convolutions(stack: tuple[tuple[int, int, int], ...]) -> nn.Sequential:
    """A convolution without padding for each kernel, stride and dilation; all weights are 1."""
    layers = nn.Sequential()
    for kernel, stride, dilation in stack:
        layer = nn.Conv1d(1, 1, kernel, stride, dilation=dilation, bias=False).double()
        nn.init.ones_(layer.weight)
        layers.append(layer)
    return layers


def seen(stack: tuple[tuple[int, int, int], ...]) -> tuple[int, int, Tensor]:
    """Side of the square behind an output, distance of neighbors, paths along one axis (side,).

    With weights of 1, the derivative by a pixel is the number of paths to it.
    """
    layers = convolutions(stack)
    flat = [nn.Conv2d(1, 1, *layer, device="meta") for layer in ((k, s, 0, d) for k, s, d in stack)]
    side, step = probes.receptive_field(flat)
    row = torch.zeros(1, 1, side, dtype=torch.float64, requires_grad=True)
    layers(row).sum().backward()
    return side, step, row.grad.flatten()


def side_of(ways: Tensor, share: float) -> int:
    """Side of the smallest square around the middle that holds this share of the influence."""
    influence = torch.outer(ways, ways).sqrt()
    return probes.side_of(influence / influence.sum(), share)


def table() -> str:
    """The figure that stands where there is no lab."""
    rows = ["| stack | can see | pixels read | half of the influence in | 95 % in |"]
    rows.append("|---|---|---|---|---|")
    for name, stack in STACKS.items():
        side, _, ways = seen(stack)
        read = (ways > 0).sum().item() ** 2
        half, most = (side_of(ways, share) for share in (0.5, 0.95))
        squares = f"{side}×{side} | {read} | {half}×{half} | {most}×{most}"
        rows.append(f"| {name} | {squares} |")
    return "\n".join(rows)
