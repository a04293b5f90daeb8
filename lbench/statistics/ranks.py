"""Whether two lists of numbers have the same order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata, spearmanr

from lbench.statistics.intervals import check_finite

FEW = 8
"""Values up to which all orders are counted: 8! are 40,320."""


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> tuple[float, float] | None:
    """Spearman's correlation of the ranks (1904), ties in their mean ranks, and its two-sided p.

    Up to eight values p is exact: how many of all orders of the one correlate with the other at
    least as strongly. Beyond, Student's t stands in for them; with four values in the same order
    it would say p = 0, where two orders of 24 are as far.

    Args:
        a: numbers.
        b: likewise, as many.

    Returns:
        None below three values, and where all of one side are equal.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    check_finite([*a, *b])
    if len(a) < 3 or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    found = spearmanr(a, b)
    if len(a) > FEW:
        return float(found.statistic), float(found.pvalue)
    # Mean ranks are halves, and so is their mean: doubled, all of it is in whole numbers.
    x, y = (np.rint(2 * rankdata(side)).astype(np.int64) - (len(a) + 1) for side in (a, b))
    orders = np.array(list(itertools.permutations(x.tolist())), dtype=np.int64)
    far = np.abs(orders @ y) >= abs(int(x @ y))
    return float(found.statistic), float(far.mean())
