"""Rank correlation: whether two lists of numbers have the same order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata, spearmanr

from lbench.statistics.intervals import check_finite

FEW = 8
"""Largest number of values for which all orders are counted: 8! is 40,320."""


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> tuple[float, float] | None:
    """Return Spearman's rank correlation (1904), with mean ranks for ties, and its two-sided p.

    With up to eight values p is exact: the share of all orders of one list that correlate with
    the other at least as strongly. With more values p is approximated by Student's t. For four
    values in the same order the approximation would give p = 0, while the exact p is 2/24.

    Args:
        a: numbers.
        b: the same number of numbers.

    Returns:
        Correlation and p; None with fewer than three values, and where all values of one list are
        equal.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    check_finite([*a, *b])
    if len(a) < 3 or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    result = spearmanr(a, b)
    if len(a) > FEW:
        return float(result.statistic), float(result.pvalue)
    # Mean ranks and their mean are multiples of one half, so twice their difference is an integer.
    x, y = (np.rint(2 * rankdata(side)).astype(np.int64) - (len(a) + 1) for side in (a, b))
    orders = np.array(list(itertools.permutations(x.tolist())), dtype=np.int64)
    far = np.abs(orders @ y) >= abs(int(x @ y))
    return float(result.statistic), float(far.mean())
