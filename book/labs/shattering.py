"""What the lab *Shattering* shows, computed with PyTorch: the networks of section 5.4, 64 wide.

The page draws the weights itself. To have the same ones, both use this generator: mulberry32
(by Tommy Ettinger, public domain), and of each two uniform numbers one normal (Box and Muller).
"""

import math
from functools import cache
from statistics import mean, stdev

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

WIDTH, POINTS, DEPTHS, SEEDS = 64, 256, (2, 10, 24, 50), 10
CASES = {
    "plain": (None, False),
    "plain, BN": (None, True),
    "residual, BN": (1.0, True),
    "residual, BN, beta = 0.1": (0.1, True),
}


def uniforms(seed: int, count: int) -> np.ndarray:
    """Numbers in (0, 1), as the page draws them."""
    low = np.uint64(0xFFFFFFFF)
    a = (np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x6D2B79F5)) & low
    t = (a ^ (a >> np.uint64(15))) * (a | np.uint64(1)) & low
    t ^= (t + ((t ^ (t >> np.uint64(7))) * (t | np.uint64(61)) & low)) & low
    return (((t ^ (t >> np.uint64(14))) & low).astype(np.float64) + 0.5) / 2**32


@cache
def normals(seed: int, count: int) -> Tensor:
    """Standard normal numbers, as the page draws them."""
    one, two = uniforms(seed, 2 * count).reshape(-1, 2).T
    return torch.from_numpy(np.sqrt(-2 * np.log(one)) * np.cos(2 * np.pi * two))


def network(depth: int, beta: float | None, batch_norm: bool, seed: int) -> tuple[Tensor, ...]:
    """y, dy/dx (both `POINTS`), and the last layer (POINTS, WIDTH).

    `beta` is None for plain, else the factor in x + beta · F(x).
    """
    drawn = normals(seed, 3 * WIDTH + DEPTHS[-1] * WIDTH**2)
    first, bias, last = drawn[: 3 * WIDTH].split(WIDTH)
    weights = drawn[3 * WIDTH :].reshape(-1, WIDTH, WIDTH)
    x = torch.linspace(-2, 2, POINTS, dtype=torch.float64).unsqueeze(1).requires_grad_()
    h = x * first + bias
    for weight in weights[:depth]:
        g = F.batch_norm(h, None, None, training=True) if batch_norm else h
        g = F.relu(g) @ weight * math.sqrt(2 / WIDTH)
        h = g if beta is None else h + beta * g
    y = F.relu(h) @ last
    return y.detach(), torch.autograd.grad(y.sum(), x)[0].squeeze(1), h.detach()


def correlation(series: Tensor) -> float:
    """Of neighbors: the lag-1 autocorrelation."""
    centered = series - series.mean()
    return ((centered[1:] * centered[:-1]).sum() / centered.square().sum()).item()


def cosine(h: Tensor) -> float:
    """Between the last layer's outputs for two points, the mean over all pairs."""
    unit = F.normalize(h)
    return ((unit.sum(0).square().sum() - len(h)) / (len(h) * (len(h) - 1))).item()


def table() -> str:
    """The figure that stands where there is no lab: correlations, mean ± sd over the seeds."""
    rows = [["correlation of neighbors", *(f"depth {depth}" for depth in DEPTHS)]]
    rows.append(["---"] * len(rows[0]))
    for name, case in CASES.items():
        row = [name]
        for depth in DEPTHS:
            found = [correlation(network(depth, *case, seed)[1]) for seed in range(SEEDS)]
            row.append(f"{mean(found):.2f} ± {stdev(found):.2f}")
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
