"""What the lab *Checkpointing* shows, measured with PyTorch's checkpoints and `probes.Memory`."""

import math

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from resnets import probes

BLOCKS = {20: 9, 56: 27, 110: 54, 326: 162}
SIZE = 1000  # numbers in a block's input


class Block(nn.Module):
    """Keeps `kept` tensors of its input's size for the backward pass."""

    def __init__(self, kept: int) -> None:
        super().__init__()
        self.kept = kept

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        for _ in range(self.kept):
            x = torch.sigmoid(x)  # which keeps its output
        return x


def lengths(blocks: int, segments: int) -> list[int]:
    """How many blocks each segment has: as alike as can be."""
    edges = [number * blocks // segments for number in range(segments + 1)]
    return [edges[number + 1] - edges[number] for number in range(segments)]


def peak(blocks: int, segments: int | None, kept: int) -> int:
    """The most that a step keeps at one time, in inputs of a block; None: no checkpoints.

    The gradient that is sent back is not counted: one more.
    """
    start = torch.zeros(1, requires_grad=True)
    with probes.Memory() as memory:
        y = start.expand(SIZE).clone()
        for length in lengths(blocks, segments or 1):
            segment = nn.Sequential(*(Block(kept) for _ in range(length)))
            y = checkpoint(segment, y, use_reentrant=False) if segments else segment(y)
        loss = y.sum()
        del y
        loss.backward()
    return memory.peak // (4 * SIZE) - 1


def table(blocks: int = 54) -> str:
    """The figure that stands where there is no lab."""
    ratios = (1, 2, 4, 8)
    heads = ["segments", "blocks in each", *(f"b/a = {ratio}" for ratio in ratios)]
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for count in (1, 3, 6, 9, 18, 27, 54, None):
        found = " | ".join(str(peak(blocks, count, ratio)) for ratio in ratios)
        rows.append(f"| {count or 'none'} | {blocks // count if count else '–'} | {found} |")
    return "\n".join(rows)


def least(blocks: int, kept: int) -> tuple[int, int, float]:
    """The least peak, the fewest segments that reach it, and what (4.2) derives for them."""
    peaks = [peak(blocks, count, kept) for count in range(1, blocks + 1)]
    return min(peaks), peaks.index(min(peaks)) + 1, math.sqrt(kept * blocks)
