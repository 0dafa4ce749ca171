"""What the lab *ReLU in the plane* shows: a spiral mapped back as in section 1.4, with PyTorch."""

import math

import torch
from torch import Tensor

SAMPLES = 300


def spiral() -> Tensor:
    """Two turns, of root mean square 1 (SAMPLES, 2); no point lies where a unit becomes active."""
    angle = 4 * math.pi * torch.arange(1, SAMPLES + 1, dtype=torch.float64) / (SAMPLES + 1)
    points = torch.stack([angle * angle.cos(), angle * angle.sin()], 1)
    return points / points.square().sum(1).mean().sqrt()


def matrix(angles: tuple[int, ...]) -> Tensor:
    """A unit for each row, of length 1, by its angle in degrees: (n, 2)."""
    turned = torch.tensor(angles, dtype=torch.float64).deg2rad()
    return torch.stack([turned.cos(), turned.sin()], 1)


def map_back(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """What the active rows' pseudo-inverse returns (points, 2), and these rows' ranks (points,)."""
    h = torch.relu(points @ rows.T)
    active = torch.where(h[:, None] > 0, rows.T, 0)
    back = (h[:, None] @ torch.linalg.pinv(active, rtol=1e-9))[:, 0]
    return back, torch.linalg.matrix_rank(active, rtol=1e-9)


def sectors(angles: tuple[int, ...]) -> list[int]:
    """In how many degrees of directions the active rows have rank 0, 1 and 2."""
    directions = matrix(tuple(degree + 0.5 for degree in range(360)))
    _, ranks = map_back(directions, matrix(angles))
    return torch.bincount(ranks, minlength=3).tolist()


def lost(angles: tuple[int, ...]) -> float:
    """The share of the spiral's points that do not come back."""
    points = spiral()
    back, _ = map_back(points, matrix(angles))
    return 1 - torch.isclose(back, points).all(1).double().mean().item()


def table() -> str:
    """The figure that stands where there is no lab."""
    heads = ["rows of the matrix at", "become zero", "merge with others", "come back"]
    lines = [f"| {' | '.join(heads)} | of the spiral lost |", "|---" * 5 + "|"]
    for angles in (
        (0, 90),
        (20, 75, 150),
        (0, 120, 240),
        (0, 90, 180, 270),
        (20, 75, 150, 240, 310),
    ):
        found = " | ".join(f"{degrees}°" for degrees in sectors(angles))
        rows = ", ".join(f"{angle}°" for angle in angles)
        lines.append(f"| {rows} | {found} | {100 * lost(angles):.1f} % |")
    return "\n".join(lines)
