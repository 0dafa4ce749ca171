"""What the lab *Nested classes* shows: least squares, as in section 1.1, on thirteen points."""

import numpy as np

POINTS, MOST, LEVELS = 13, 6, 10
DIGITS = "0123456789abcdefghijk"  # of a height from −10 to 10
BEGIN = "ebfe9ff97423b"


def heights(text: str) -> np.ndarray:
    """The target that a link's digits describe: (POINTS,)."""
    return np.array([DIGITS.index(digit) - LEVELS for digit in text], dtype=float)


def waves(kind: str, k: int) -> np.ndarray:
    """Sines and cosines of all frequencies up to k ("nested"), or of k ("alone")."""
    frequencies = range(k + 1) if kind == "nested" else [k]
    angle = 2 * np.pi * np.arange(POINTS)[:, None] / POINTS
    return np.hstack([wave(angle * f) for f in frequencies for wave in (np.sin, np.cos)])


def nearest(target: np.ndarray, kind: str, k: int) -> np.ndarray:
    """The nearest function of the class: (POINTS,)."""
    columns = waves(kind, k)
    return columns @ np.linalg.lstsq(columns, target, rcond=None)[0]


def distances(target: np.ndarray, kind: str) -> np.ndarray:
    """From the target to the nearest function, as a share of its norm, for each k from 0."""
    left = [target - nearest(target, kind, k) for k in range(MOST + 1)]
    return np.linalg.norm(left, axis=1) / np.linalg.norm(target)


def table() -> str:
    """The figure that stands where there is no lab."""
    lines = ["| k | " + " | ".join(map(str, range(MOST + 1))) + " |", "|---" * (MOST + 2) + "|"]
    for name, kind in (("frequencies up to k", "nested"), ("k alone", "alone")):
        found = distances(heights(BEGIN), kind)
        lines.append(f"| {name} | " + " | ".join(f"{abs(share):.2f}" for share in found) + " |")
    return "\n".join(lines)
