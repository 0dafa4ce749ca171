"""What the lab *Paths* shows: the paths through residual blocks, listed, and their lengths."""

from itertools import combinations

import numpy as np
from numpy.polynomial import polynomial

BLOCKS, DEEP = 6, 54


def paths(on: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Each path by the blocks whose layers it takes; those that are not `on` have none."""
    return [taken for length in range(len(on) + 1) for taken in combinations(on, length)]


def shares(blocks: int, factor: float) -> np.ndarray:
    """What the lengths 0 to `blocks` bring, if each block multiplies by `factor`: adds up to 1.

    The coefficients of (1 + factor · x)^blocks, one term for the shortcut and one for the layers.
    """
    weights = polynomial.polypow([1.0, factor], blocks)
    return weights / weights.sum()


def central(distribution: np.ndarray) -> tuple[int, int]:
    """The shortest and the longest length in the middle 95 %, as section 5.5 finds them."""
    few, many = np.searchsorted(distribution.cumsum(), (0.025, 0.975))
    return int(few), int(many)


def table() -> str:
    """The figure that stands where there is no lab: all six blocks, three factors."""
    columns = " | ".join(map(str, range(BLOCKS + 1)))
    lines = [f"| blocks on the path | {columns} | with 54 blocks, 95 % of all |"]
    lines.append("|---" * (BLOCKS + 3) + "|")
    lengths = [sum(len(path) == length for path in paths(range(6))) for length in range(7)]
    lines.append(f"| paths | {' | '.join(map(str, lengths))} | |")
    for factor in (1, 0.5, 0.3, 0.2):
        found = " | ".join(f"{100 * share:.1f} %" for share in shares(BLOCKS, factor))
        few, many = central(shares(DEEP, factor))
        lines.append(f"| share, factor {factor} | {found} | {few} to {many} blocks |")
    return "\n".join(lines)
