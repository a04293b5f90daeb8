from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from lbench.statistics.ranks import rank_correlation


def counted(a: Sequence[float], b: Sequence[float]) -> float:
    """Return p by brute force from all correlations."""
    seen = abs(stats.spearmanr(a, b).statistic)
    every = [abs(stats.spearmanr(order, b).statistic) for order in itertools.permutations(a)]
    return float(np.mean([value >= seen - 1e-9 for value in every]))


def test_four_values_in_one_order_are_two_of_twenty_four() -> None:
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx((1.0, 2 / 24))
    assert rank_correlation([4, 3, 2, 1], [10, 20, 30, 40]) == pytest.approx((-1.0, 2 / 24))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([3.1, 1.2, 2.5, 0.7, 4.4], [1.0, 2.0, 3.0, 4.0, 5.0]),
        ([1.0, 1.0, 2.0, 3.0, 2.0], [5.0, 4.0, 4.0, 1.0, 2.0]),
        ([2.0, 2.0, 2.0, 1.0], [1.0, 2.0, 2.0, 3.0]),
    ],
)
def test_p_is_counted_over_all_orders_with_ties(a: list[float], b: list[float]) -> None:
    result = rank_correlation(a, b)
    assert result is not None
    assert result[0] == pytest.approx(stats.spearmanr(a, b).statistic)
    assert result[1] == pytest.approx(counted(a, b))


def test_eight_values_are_counted_and_nine_are_not() -> None:
    a = np.random.default_rng(0).normal(size=9).tolist()
    eight, nine = (rank_correlation(a[:n], sorted(a[:n])) for n in (8, 9))
    assert eight is not None
    assert eight[1] * 40_320 == pytest.approx(round(eight[1] * 40_320))
    expected = stats.spearmanr(a, sorted(a))
    assert nine == pytest.approx((expected.statistic, expected.pvalue))


@pytest.mark.parametrize(("a", "b"), [([], []), ([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3])])
def test_what_has_no_order_has_no_correlation(a: list[float], b: list[float]) -> None:
    assert rank_correlation(a, b) is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_without_a_rank_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        rank_correlation([1.0, bad, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])
