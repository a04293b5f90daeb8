"""Two cells on common seeds: whether other seeds would give a difference too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr
from scipy.stats import rankdata

from lbench.statistics.intervals import Summary, check_finite, differences, paired
from lbench.statistics.signs import two_sided

PAIRS = 6
"""From so many pairs on Wilcoxon's p can be below 0.05: with five the smallest is 0.0625."""
EQUAL = 1e-9
"""Differences of errors in percent that are this close are the same number, rounded."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """What common seeds say of a difference.

    Args:
        difference: its mean with the t interval.
        p: of the paired t test, two-sided; None without one.
        reason: why there is none.
        wilcoxon: p of the signed-rank test, two-sided; None without one.
        wilcoxon_reason: likewise.
    """

    difference: Summary
    p: float | None
    reason: str | None
    wilcoxon: float | None
    wilcoxon_reason: str | None


def pairs(a: Mapping[int, float], b: Mapping[int, float]) -> Pairs | None:
    """Tests of ``a - b`` over the seeds that both have; None when they share none.

    Student's t test holds from two pairs on where the differences are about normal. Wilcoxon's
    signed-rank test (1945, Biometrics Bulletin 1, 80-83) needs no more than a symmetric
    distribution, and six pairs that differ.

    Args:
        a: a value a seed, such as the test error in percent.
        b: likewise.

    Raises:
        ValueError: a value of a common seed is None, NaN or infinite.
    """
    difference = paired(a, b)
    if difference is None:
        return None
    found = differences(a, b)
    p, reason = t_test(found)
    signed, why = signed_rank(found)
    return Pairs(difference, p, reason, signed, why)


def t_test(values: Sequence[float]) -> tuple[float | None, str | None]:
    """Return the two-sided p of Student's test that their mean is zero, or why there is none.

    Raises:
        ValueError: a difference is None, NaN or infinite.
    """
    check_finite(values)
    n = len(values)
    if n < 2:
        return None, "one pair has no spread"
    if np.ptp(values) <= EQUAL:
        # Errors are multiples of one example, so this happens; it is no infinite certainty.
        if abs(values[0]) <= EQUAL:
            return 1.0, None
        return None, "all pairs differ by the same, so their spread is not known"
    t = abs(np.mean(values)) / (np.std(values, ddof=1) / math.sqrt(n))
    return 2 * float(stdtr(n - 1, -t)), None


def signed_rank(values: Sequence[float]) -> tuple[float | None, str | None]:
    """Exact two-sided p of Wilcoxon's test, ties in their mean ranks, or why there is none.

    Zeros are left out, as Wilcoxon did.

    Raises:
        ValueError: a difference is None, NaN or infinite.
    """
    check_finite(values)
    differ = np.asarray([each for each in values if abs(each) > EQUAL])
    if len(differ) < PAIRS:
        return None, f"it needs {PAIRS} pairs that differ, here are {len(differ)}"
    ranks = rankdata(np.round(np.abs(differ) / EQUAL))
    # Mean ranks are halves.
    terms = np.rint(2 * ranks * np.sign(differ)).astype(np.int64)
    return two_sided(terms)[0], None
