"""Trained residual blocks, read as steps of length 1 of Euler's method for dx/dt = F(x).

F is what a block's layers compute, in evaluation mode. Only blocks whose shortcut is the identity
can be read so; those that change the shape are left out.
"""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnets import probes
from resnets.models import ResidualBlock, ResNet

Field = Callable[[Tensor], Tensor]


def euler(field: Field, x: Tensor, steps: int) -> Tensor:
    """x(1) by Euler's method with `steps` steps of equal length, from x(0) = x."""
    for _ in range(steps):
        x = x + field(x) / steps
    return x


def runge_kutta(field: Field, x: Tensor, steps: int = 32) -> Tensor:
    """x(1) by the classical method of fourth order, from x(0) = x."""
    step = 1 / steps
    for _ in range(steps):
        first = field(x)
        second = field(x + step / 2 * first)
        third = field(x + step / 2 * second)
        fourth = field(x + step * third)
        x = x + step / 6 * (first + 2 * second + 2 * third + fourth)
    return x


@torch.no_grad()
def step_errors(model: ResNet, images: Tensor, steps: tuple[int, ...]) -> Iterator[dict]:
    """How well each block's step follows the block's own equation, from the block's own inputs.

    A row for each block that keeps the shape and each number of steps: `length`, the norm of F(x)
    over that of x; `alike`, the cosine of F(x) and of what the next block's layers make of the
    same x (None where the next block has another shape); and `error`, the distance from Euler's
    x(1) to the equation's, over the way from x(0) to x(1). Norms and cosine are over all
    `images` (N, C, H, W) at once, computed in float64.
    """
    model = copy.deepcopy(model).double().eval()
    found = list(probes.blocks(model).items())
    x = F.relu(model.bn1(model.conv1(images.double())))
    for number, (name, block) in enumerate(found):
        if _is_a_step(block):
            added, exact = block.residual(x), runge_kutta(block.residual, x)
            row = {"block": name, "length": (added.norm() / x.norm()).item(), "alike": None}
            following = found[number + 1][1] if number + 1 < len(found) else None
            if following is not None and _is_a_step(following):
                other = following.residual(x)
                row["alike"] = F.cosine_similarity(added.flatten(), other.flatten(), 0).item()
            for n in steps:
                error = (euler(block.residual, x, n) - exact).norm() / (exact - x).norm()
                yield row | {"steps": n, "error": error.item()}
        x = block(x)


def refined(model: ResNet, steps: int) -> ResNet:
    """A copy in which each block takes `steps` steps of length 1/`steps`, each ending in its ReLU.

    Blocks that change the shape stay as they are.
    """
    model = copy.deepcopy(model)
    for name in model.stages:
        stage = model.get_submodule(name)
        for number, block in enumerate(stage):
            if _is_a_step(block):
                stage[number] = _Refined(block, steps)
    return model


class _Refined(nn.Module):
    def __init__(self, block: ResidualBlock, steps: int) -> None:
        super().__init__()
        self.block, self.steps = block, steps

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.steps):
            x = F.relu(x + self.block.residual(x) / self.steps)
        return x


def _is_a_step(block: ResidualBlock) -> bool:
    return isinstance(block.downsample, nn.Identity)
