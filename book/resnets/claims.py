"""The table of claims: what is said of residual networks, and what became of it.

`claims.toml` beside this file has a row for each claim, and the effects that were measured. The
chapters' cells compute these effects again and compare; the site's page of claims shows them.
"""

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

TABLE = Path(__file__).with_name("claims.toml")
VERDICTS = ("holds", "holds with a condition", "does not hold", "not settled here", "reported")
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# What a cell computes when it runs; then what it reads from recorded runs; then nothing.
COMPUTED_HERE = ("proof or identity", "counterexample", "measured here")
EVIDENCE = (*COMPUTED_HERE, "agrees with recorded runs", "reported")


@dataclass(frozen=True)
class Effect:
    """A measured effect: its mean over the seeds and the 95 % interval of the mean.

    Attributes:
        what: what was measured, a difference in most cases, with its unit.
        mean, low, high: arithmetic; of a `ratio` geometric.
        seeds: how many numbers the interval rests on.
    """

    what: str
    mean: float
    low: float
    high: float
    seeds: int
    ratio: bool = False

    def __str__(self) -> str:
        return f"{self.what}: {self.figures()}"

    def figures(self) -> str:
        """`0.133 (95 % interval 0.062 to 0.205, 3 seeds)`."""
        mean, low, high = map(number, (self.mean, self.low, self.high))
        return f"{mean} (95 % interval {low} to {high}, {self.seeds} seeds)"


def effect(name: str, values, compare: bool = True) -> Effect:
    """The effect `name` of the table, computed from `values`, one number a seed.

    The interval is that of Student's t distribution: it takes the seeds for independent draws
    from a normal distribution, of the number itself or, for a ratio, of its logarithm.

    Figures that come from recorded runs have to equal the table's in three digits. Those that are
    measured anew differ between machines: there the two intervals have to overlap. `compare` is
    False where the images are the stand-in, for which the table does not speak.

    Raises:
        LookupError: the table has no such effect.
        ValueError: fewer than two numbers, or one that is not finite (or, in a ratio, positive).
        AssertionError: the table says something else. The message has the lines that it should say.
    """
    table = effects()
    if name not in table:
        raise LookupError(f"{TABLE.name} has no effect {name!r}: add [effects.{name}]")
    stated = table[name]
    computed = interval(values, stated.what, stated.ratio)
    if compare and not _agree(stated, computed, name in _measured_anew()):
        raise AssertionError(
            f"the page of claims says of {name!r}: {stated.figures()}; this cell computes "
            f"{computed.figures()}. If the cell is right, write into {TABLE.name}:\n"
            + "\n".join(
                f"{key} = {_short(getattr(computed, key))}" for key in ("mean", "low", "high")
            )
            + f"\nseeds = {computed.seeds}"
        )
    return computed


def interval(values, what: str, ratio: bool = False) -> Effect:
    """Mean and 95 % interval of some numbers; of a `ratio` in logarithms, and back."""
    values = np.asarray(values, dtype=float)
    if ratio and not (values > 0).all():
        raise ValueError(f"{what} is a ratio, so every number is positive, not {values.tolist()}")
    if len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"an interval needs two finite numbers or more, not {values.tolist()}")
    if ratio:
        values = np.log(values)
    from scipy import stats  # here, since the site shows claims and has no SciPy

    mean, half = values.mean(), stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    figures = [float(np.exp(x) if ratio else x) for x in (mean, mean - half, mean + half)]
    return Effect(what, *figures, len(values), ratio)


@cache
def rows() -> tuple[dict, ...]:
    """The table's rows, as `claims.toml` has them."""
    return tuple(_content()["claims"])


@cache
def effects() -> dict[str, Effect]:
    """The table's effects by name."""
    return {name: Effect(**figures) for name, figures in _content().get("effects", {}).items()}


def number(value: float) -> str:
    """Three digits, with a power of ten where they would be far from the point."""
    if value and not 1e-4 <= abs(value) < 1e5:
        digits, power = f"{value:.1e}".split("e")
        return (
            f"{digits}×10{str(int(power)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
        )
    return f"{value:#.3g}".rstrip(".").replace("-", "−")


def _content() -> dict:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def _measured_anew() -> set[str]:
    return {
        name
        for row in rows()
        if row["evidence"] in COMPUTED_HERE
        for name in row.get("effects", [])
    }


def _agree(stated: Effect, computed: Effect, anew: bool) -> bool:
    if stated.seeds != computed.seeds:
        return False
    if anew:
        return computed.low <= stated.high and stated.low <= computed.high
    return all(
        math.isclose(_short(getattr(computed, key)), getattr(stated, key), rel_tol=6e-3)
        for key in ("mean", "low", "high")
    )


def _short(value: float) -> float:
    return float(f"{value:.3g}")
