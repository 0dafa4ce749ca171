"""What the lab *Trading stride for dilation* shows, computed with PyTorch's convolutions.

A row of pixels passes the first convolutions of a stage: in ResNet v1.5 a 3×3 that has the stride,
then one of the next block; in v1 a 1×1 that has the stride, and two 3×3 after it. Here they have
one dimension.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

LENGTH = 17
WAYS = ("stride", "none", "dilation")
VERSIONS = ("v15", "v1")
FIRSTS = ("previous", "own")


def stack(way: str, version: str, first: str) -> nn.Sequential:
    """The convolutions, with the same positive weights whatever the settings but the version.

    `way` is what becomes of the stride; `first` is the dilation that the convolution gets which
    loses it, that of the "previous" stage (1) or the stage's "own" (2).
    """
    stride = 2 if way == "stride" else 1
    later = 2 if way == "dilation" else 1
    taps, dilations = (3, 3), [later if first == "own" else 1, later]
    if version == "v1":
        taps, dilations = (1, 3, 3), [*dilations, later]
    generator = torch.Generator().manual_seed(0)
    layers = nn.Sequential()
    for number, (width, dilation) in enumerate(zip(taps, dilations, strict=True)):
        padding = dilation * (width // 2)
        options = {"padding": padding, "dilation": dilation, "bias": False}
        layer = nn.Conv1d(1, 1, width, stride if number == 0 else 1, **options).double()
        with torch.no_grad():
            layer.weight.copy_(torch.rand(layer.weight.shape, generator=generator) + 0.1)
        layers.append(layer)
    return layers


def jacobian(layers: nn.Sequential) -> Tensor:
    """How each output depends on each pixel: (outputs, LENGTH)."""
    row = torch.zeros(1, 1, LENGTH, dtype=torch.float64)
    return torch.autograd.functional.jacobian(layers, row).reshape(-1, LENGTH)


def pixels(output: int, way: str, version: str, first: str) -> list[int]:
    """The pixels that an output reads."""
    return jacobian(stack(way, version, first))[output].nonzero().flatten().tolist()


def kept(way: str, version: str, first: str) -> list[int]:
    """The outputs that are those of the network with stride, each at its own place."""
    strided = jacobian(stack("stride", version, first))
    found = jacobian(stack(way, version, first))
    apart = 1 if way == "stride" else 2
    return [
        apart * number
        for number, row in enumerate(strided)
        if torch.allclose(row, found[apart * number], rtol=1e-9, atol=0)
    ]


def table() -> str:
    """The figure that stands where there is no lab: v1.5, the output over pixel 8."""
    rows = ["| the stride of 2 | the output over pixel 8 reads | of 9 outputs with stride, kept |"]
    rows.append("|---|---|---|")
    for name, way, first in (
        ("stays", "stride", "own"),
        ("left out", "none", "own"),
        ("left out, dilations 1 and 2", "dilation", "previous"),
        ("left out, dilations 2 and 2", "dilation", "own"),
    ):
        found = pixels(4 if way == "stride" else 8, way, "v15", first)
        side_by_side = all(two - one == 1 for one, two in pairwise(found))
        read = f"{found[0]} to {found[-1]}" if side_by_side else ", ".join(map(str, found))
        rows.append(f"| {name} | {read} | {len(kept(way, 'v15', first))} |")
    return "\n".join(rows)
