"""Effects of the table of claims: mean, interval, and the comparison with what the table says."""

import math

import numpy as np
import pytest
from scipy import stats

from resnets import claims

TABLE = """
[[claims]]
evidence = "agrees with recorded runs"
effects = ["gain"]

[[claims]]
evidence = "measured here"
effects = ["anew", "growth"]

[effects]
gain = {what = "gain", mean = 0.0203, low = 0.00786, high = 0.0328, seeds = 3}
anew = {what = "anew", mean = 2.0, low = 1.0, high = 3.0, seeds = 3}
growth = {what = "growth", mean = 2.0, low = 1.0, high = 4.0, seeds = 2, ratio = true}
"""
GAIN = (0.015, 0.021, 0.025)


@pytest.fixture(autouse=True)
def table(tmp_path, monkeypatch):
    path = tmp_path / "claims.toml"
    path.write_text(TABLE)
    monkeypatch.setattr(claims, "TABLE", path)
    claims.rows.cache_clear()
    claims.effects.cache_clear()
    yield
    claims.rows.cache_clear()
    claims.effects.cache_clear()


def test_the_interval_is_the_t_distribution_s():
    computed = claims.interval(GAIN, "gain")
    expected = stats.ttest_1samp(GAIN, 0).confidence_interval(0.95)
    assert computed.mean == pytest.approx(np.mean(GAIN))
    assert (computed.low, computed.high) == pytest.approx(tuple(expected))


def test_a_ratio_is_averaged_in_logarithms():
    computed = claims.interval((2, 8), "growth", ratio=True)
    assert computed.mean == pytest.approx(4)
    assert computed.high / computed.mean == pytest.approx(computed.mean / computed.low)
    half = 12.706 * math.log(2)  # t for one degree of freedom; both logarithms are log 2 off
    assert math.log(computed.high / 4) == pytest.approx(half, rel=1e-4)


def test_figures_of_recorded_runs_have_to_be_the_table_s():
    assert claims.effect("gain", GAIN).seeds == 3
    with pytest.raises(AssertionError, match=r"mean = 0\.0213\n"):
        claims.effect("gain", (0.015, 0.021, 0.028))
    with pytest.raises(AssertionError, match="seeds = 2"):
        claims.effect("gain", GAIN[:2])


def test_what_is_measured_anew_has_to_overlap():
    claims.effect("anew", (2.8, 3.0, 3.2))
    with pytest.raises(AssertionError, match="the page of claims says of 'anew'"):
        claims.effect("anew", (3.5, 3.6, 3.7))
    claims.effect("anew", (3.5, 3.6, 3.7), compare=False)


@pytest.mark.parametrize(
    ("name", "values", "error", "message"),
    [
        ("none", GAIN, LookupError, r"no effect 'none': add \[effects.none\]"),
        ("gain", (0.1,), ValueError, "two finite numbers or more"),
        ("gain", (0.1, math.nan), ValueError, "two finite numbers or more"),
        ("growth", (1.0, 0.0), ValueError, "every number is positive"),
    ],
)
def test_bad_input(name, values, error, message):
    with pytest.raises(error, match=message):
        claims.effect(name, values)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.13349, "0.133"),
        (-0.05, "−0.0500"),
        (0.0, "0.00"),
        (30.54, "30.5"),
        (817.4, "817"),
        (8.93e6, "8.9×10⁶"),
        (4.1e-6, "4.1×10⁻⁶"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert claims.number(value) == text


def test_an_effect_is_told_in_a_line():
    line = str(claims.interval(GAIN, "accuracy, with minus without"))
    assert line == (
        "accuracy, with minus without: 0.0203 (95 % interval 0.00783 to 0.0328, 3 seeds)"
    )
