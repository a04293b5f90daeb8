"""Intervals and tests have their stated coverage and level; see ``benchmarks/coverage.py``."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lbench.statistics.best import best_set
from lbench.statistics.equivalence import paired_equivalence, welch_equivalence
from lbench.statistics.examples import examples
from lbench.statistics.intervals import binomial, error_interval, interval
from lbench.statistics.multiple import holm
from lbench.statistics.paired_tests import paired_tests
from lbench.statistics.signs import two_sided

# Thousands of repetitions of what other tests cover.
pytestmark = pytest.mark.no_cover

TRIALS = 2000
SLACK = 3 * math.sqrt(0.05 * 0.95 / TRIALS)
"""Three standard errors of a proportion near 5 or 95 %."""


def by_seed(values: np.ndarray) -> dict[int, float]:
    return dict(enumerate(values.tolist()))


@pytest.mark.parametrize("n", [3, 5, 10])
def test_t_intervals_cover(n: int) -> None:
    rng = np.random.default_rng(n)
    result = [interval(row) for row in rng.normal(2.0, 0.3, (TRIALS, n)).tolist()]
    covered = [value.low <= 2.0 <= value.high for value in result if value.low and value.high]
    assert np.mean(covered) == pytest.approx(0.95, abs=SLACK)


@pytest.mark.parametrize(
    ("n", "examples", "error", "sd"),
    [
        (2, 359, 5, 0.4),
        (2, 359, 5, 0.2),
        (3, 359, 5, 0.2),
        (2, 359, 50, 0.03),
        (10, 1000, 2.035, 0.05),
    ],
)  # fmt: skip
def test_intervals_of_counted_errors_cover(n: int, examples: int, error: float, sd: float) -> None:
    rng = np.random.default_rng(0)
    counts = np.rint((error + sd * rng.standard_normal((TRIALS, n))) * examples / 100)
    edges = (np.arange(examples + 2) - 0.5) * 100 / examples
    truth = float(np.diff(stats.norm.cdf(edges, error, sd)) @ np.arange(examples + 1))
    truth *= 100 / examples
    result = [error_interval(row, examples) for row in (100 * counts / examples).tolist()]
    covered = [
        value.low <= truth <= value.high for value in result if value and value.high is not None
    ]
    assert len(covered) == TRIALS
    assert np.mean(covered) >= 0.935 - 2 / 3 * SLACK
    # The t interval does not.
    plain = [interval(row) for row in (100 * counts / examples).tolist()]
    by_t = [value.low is not None and value.low <= truth <= value.high for value in plain]
    assert np.mean(by_t) < 0.935 - SLACK


@pytest.mark.parametrize("n", [360, 10_000])
@pytest.mark.parametrize("error", [1.5, 10.0])
def test_wilson_intervals_cover(n: int, error: float) -> None:
    chances = stats.binom.pmf(np.arange(n + 1), n, error / 100)
    covered = 0.0
    for k in np.flatnonzero(chances > 1e-10).tolist():
        low, high = binomial(100 * k / n, n)
        covered += chances[k] * (low <= error <= high)
    assert covered == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("n", "a", "b"), [(360, 0.06, 0.03), (10_000, 0.02, 0.015)])
def test_bootstrap_intervals_over_examples_cover(n: int, a: float, b: float) -> None:
    rng = np.random.default_rng(n)
    covered = []
    for _ in range(400):
        kind = rng.choice(3, n, p=[1 - a - b, a, b])
        result = examples(kind != 1, kind != 2)
        if result.low is not None and result.high is not None:
            covered.append(result.low <= 100 * (a - b) <= result.high)
    assert len(covered) > 390
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015 + 0.01)


@pytest.mark.parametrize("differ", [5, 6, 20, 150, 1001])
def test_mcnemar_never_rejects_too_often(differ: int) -> None:
    against = np.arange(differ + 1)
    p = np.array([two_sided(np.repeat([1, -1], [k, differ - k]))[0] for k in against.tolist()])
    chance = stats.binom.pmf(against, differ, 0.5)
    assert chance[p <= 0.05].sum() <= 0.05
    assert (differ < 6) == (not (p <= 0.05).any())


def test_mcnemar_with_seeds_that_err_alike_does_not_reject_too_often() -> None:
    rng = np.random.default_rng(0)
    rejected = 0
    for _ in range(TRIALS // 4):
        hard = rng.choice([0.01, 0.5], 400, p=[0.9, 0.1])
        a, b = rng.uniform(size=(2, 3, 400)) >= hard
        rejected += examples(a, b).p <= 0.05
    assert rejected / (TRIALS // 4) <= 0.05 + 2 * SLACK


def test_equivalence_is_claimed_at_the_margin_in_at_most_one_of_twenty() -> None:
    rng = np.random.default_rng(0)
    claimed = np.zeros(2)
    for _ in range(TRIALS):
        a, b = rng.normal(2.2, 0.06, 5), rng.normal(2.0, 0.04, 5)
        paired = paired_equivalence(by_seed(a), by_seed(b), 0.2)
        assert paired is not None
        welch = welch_equivalence(a.tolist(), b.tolist(), 0.2)
        claimed += [value.verdict == "equivalent" for value in (paired, welch)]
    assert (claimed / TRIALS <= 0.05 + SLACK).all()
    assert (claimed / TRIALS > 0.02).all()


def test_holm_keeps_the_error_of_a_table_below_five_percent() -> None:
    rng = np.random.default_rng(0)
    plain = by_holm = 0
    for _ in range(TRIALS // 4):
        first, *others = [by_seed(row) for row in rng.normal(2, 0.2, (9, 5))]
        result = [paired_tests(other, first) for other in others]
        values = [value.p for value in result if value is not None and value.p is not None]
        plain += min(values) <= 0.05
        by_holm += any(p is not None and p <= 0.05 for p in holm(values))
    assert by_holm / (TRIALS // 4) <= 0.05 + 2 * SLACK
    assert plain / (TRIALS // 4) > 0.15


def test_a_best_group_is_rarely_left_out_of_the_set() -> None:
    rng = np.random.default_rng(0)
    gone = 0
    for _ in range(TRIALS // 4):
        groups = [by_seed(row) for row in rng.normal([[2.0]] * 4 + [[2.5]] * 2, 0.2, (6, 5))]
        gone += 0 not in best_set(groups).members
    assert gone / (TRIALS // 4) <= 0.05
