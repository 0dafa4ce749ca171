"""What the lab *Pyramid* shows, computed with the library's pyramid pooling."""

import torch
from torch import Tensor, nn

from resnets.pspnet import PyramidPooling

BINS = (1, 2, 3, 6)


def channel(side: int) -> Tensor:
    """A channel of a map: 1 on a large patch, 0.8 on a small one, else 0. (1, 1, side, side)."""
    at = 24 * torch.arange(side)

    def patch(top: int, bottom: int, left: int, right: int) -> Tensor:
        rows = (at >= top * side) & (at < bottom * side)
        columns = (at >= left * side) & (at < right * side)
        return torch.outer(rows, columns)

    values = patch(3, 12, 3, 10) + 0.8 * patch(16, 20, 17, 21)
    return values[None, None].double()


def pooled(side: int, bins: int, pool: str) -> Tensor:
    """The bin: (bins, bins)."""
    kind = nn.AdaptiveMaxPool2d if pool == "max" else nn.AdaptiveAvgPool2d
    return kind(bins)(channel(side))[0, 0]


def stretched(side: int, bins: int, pool: str) -> Tensor:
    """What each place of the map is told: (side, side)."""
    return PyramidPooling(1, (bins,), pool, reduce=False)(channel(side))[0, 1]


def region(side: int, bins: int, number: int) -> tuple[int, int]:
    """The first and the last row of a bin's region, counted from 1: those with a gradient."""
    rows = torch.zeros(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    nn.AdaptiveAvgPool2d(bins)(rows)[0, 0, number].sum().backward()
    read = rows.grad[0, 0].sum(1).nonzero().flatten()
    return read[0].item() + 1, read[-1].item() + 1


def table() -> str:
    """The figure that stands where there is no lab."""
    rows = ["| bin | pixels in a region | average around the small patch | maximum |"]
    rows.append("|---|---|---|---|")
    for bins in reversed(BINS):
        place = bins * 9 // 12, bins * 9 // 12
        average, most = (pooled(12, bins, pool)[place].item() for pool in ("average", "max"))
        rows.append(f"| {bins}×{bins} | {(12 // bins) ** 2} | {average:.3f} | {most:.3f} |")
    return "\n".join(rows)
