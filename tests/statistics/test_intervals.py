from __future__ import annotations

import math
import random

import pytest

from lbench.statistics.intervals import (
    binomial,
    error_interval,
    interval,
    interval_of_known,
    least_half_width,
    mean_difference,
    quantile,
)


def test_quantiles_of_student_t_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for df in [*range(1, 61), 100, 1000, 100_000]:
        assert quantile(df) == pytest.approx(stats.t.ppf(0.975, df), abs=1e-4)


def test_interval_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = [1.81, 1.75, 1.92, 1.88, 1.79]
    summary = interval(values)
    low, high = stats.t.interval(0.95, 4, loc=sum(values) / 5, scale=stats.sem(values))
    assert summary.n == 5
    assert summary.sd == pytest.approx(stats.tstd(values))
    assert (summary.low, summary.high) == pytest.approx((low, high), abs=1e-6)


def test_an_interval_covers_the_mean_in_95_of_100_experiments() -> None:
    chance = random.Random(0)
    trials = 4000
    covered = 0
    for _ in range(trials):
        summary = interval([chance.gauss(2.0, 0.3) for _ in range(3)])
        assert summary.low is not None
        assert summary.high is not None
        covered += summary.low <= 2.0 <= summary.high
    # Three standard errors of a proportion of 0.95 over 4000 trials.
    assert covered / trials == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / trials))


def test_one_value_has_no_interval() -> None:
    summary = interval([1.5])
    assert (summary.mean, summary.sd, summary.low, summary.high) == (1.5, None, None, None)
    assert summary.as_dict() == {"mean": 1.5, "sd": None, "ci95": None, "n": 1}


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [1.0, None], [math.inf]])
def test_values_that_are_not_finite_are_refused_not_dropped(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"no values|finite"):
        interval(values)


def test_unknown_values_are_left_out_on_request() -> None:
    assert interval_of_known([1.0, None, 3.0]) == interval([1.0, 3.0])
    assert interval_of_known([None]) is None


def test_differences_are_paired_over_common_seeds_alone() -> None:
    a = {0: 2.0, 1: 2.4, 2: 2.2, 7: 90.0}
    b = {0: 1.5, 1: 1.8, 2: 1.7, 9: 0.0}
    difference = mean_difference(a, b)
    assert difference is not None
    assert difference.n == 3
    assert difference.mean == pytest.approx((0.5 + 0.6 + 0.5) / 3)
    assert mean_difference({0: 1.0}, {1: 1.0}) is None


def test_pairing_removes_variation_that_seeds_share() -> None:
    shared = {0: 1.0, 1: 5.0, 2: 9.0}
    higher = {seed: value + 0.1 + 0.01 * seed for seed, value in shared.items()}
    difference = mean_difference(higher, shared)
    assert difference is not None
    assert (difference.low, difference.high) == pytest.approx((0.085, 0.135), abs=1e-3)


def test_differences_without_any_spread_are_not_exact() -> None:
    a, b = {0: 2.0, 1: 3.0, 2: 4.0}, {0: 1.5, 1: 2.5, 2: 3.5}
    result = mean_difference(a, b)
    assert result is not None
    assert (result.mean, result.low, result.high) == (0.5, None, None)
    # One example of 400 is 0.25 points.
    result = mean_difference(a, b, 0.25)
    assert result is not None
    assert (result.low, result.high) == pytest.approx(
        (0.5 - least_half_width(3) / 4, 0.5 + least_half_width(3) / 4)
    )


@pytest.mark.parametrize(
    ("values", "examples"),
    [
        ([100 * 17 / 359] * 2, 359),
        ([100 * 4 / 359] * 3, 359),
        ([4.74] * 10, 10_000),
        ([4.3226, 5.5174], 359),
        ([18.944, 72.146], 359),
        ([0.0, 0.0], 359),
        ([100.0] * 3, 359),
        ([0.0, 0.2786], 359),
        ([99.0, 100.0, 100.0], 300),
    ],
)
def test_the_interval_of_an_error_has_a_width_and_is_within_0_and_100(
    values: list[float], examples: int
) -> None:
    result = error_interval(values, examples)
    assert result is not None
    assert result.low is not None
    assert result.high is not None
    assert 0 <= result.low <= result.mean <= result.high <= 100
    half = 100 * least_half_width(len(values)) / examples
    assert result.high - result.low >= min(half, 100 - half) - 1e-9
    assert result.sd == interval(values).sd


def test_the_interval_of_an_error_is_the_t_interval_where_seeds_differ() -> None:
    values = [1.81, 1.75, 1.92, 1.88, 1.79]
    assert error_interval(values, 10_000) == interval(values)
    assert error_interval([1.81, None, 1.75], 10_000) == interval([1.81, 1.75])
    assert error_interval([None], 359) is None
    assert error_interval([], 359) is None


def test_an_error_on_an_unknown_number_of_examples_is_never_shown_as_exact() -> None:
    result = error_interval([4.74, 4.74], None)
    assert result is not None
    assert (result.low, result.high) == (None, None)
    result = error_interval([4.3226, 5.5174], None)
    assert result is not None
    assert result.low == 0


@pytest.mark.parametrize("bad", [-0.1, 100.1, math.nan, math.inf])
def test_values_that_are_no_errors_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 100"):
        error_interval([1.0, bad], 359)


def test_the_least_half_width_falls_with_the_seeds() -> None:
    assert [least_half_width(n) for n in (2, 3, 10)] == pytest.approx(
        [1.5, 1.2296, 0.36889], abs=1e-4
    )


@pytest.mark.parametrize(("error", "n"), [(0.0, 359), (1.8, 10_000), (12.5, 200), (100.0, 10)])
def test_wilson_interval_agrees_with_scipy(error: float, n: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    wrong = round(error / 100 * n)
    expected = stats.binomtest(wrong, n).proportion_ci(0.95, method="wilson")
    got = binomial(100 * wrong / n, n)
    assert got == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-6)


@pytest.mark.parametrize(("error", "n"), [(-0.1, 10), (100.1, 10), (math.nan, 10), (5.0, 0)])
def test_an_impossible_error_is_refused(error: float, n: int) -> None:
    with pytest.raises(ValueError, match="got"):
        binomial(error, n)
