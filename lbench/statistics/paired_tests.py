"""Two cells on common seeds: whether other seeds would give a difference too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr
from scipy.stats import rankdata

from lbench.statistics.intervals import (
    EQUAL,
    Summary,
    check_finite,
    differences,
    mean_difference,
    standard_error,
)
from lbench.statistics.signs import two_sided

PAIRS = 6
"""From so many pairs on Wilcoxon's p can be below 0.05: with five the smallest is 0.0625."""


@dataclass(frozen=True, slots=True)
class PairedTests:
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


def paired_tests(
    a: Mapping[int, float], b: Mapping[int, float], step: float = 0.0
) -> PairedTests | None:
    """Tests of ``a - b`` over the seeds that both have; None when they share none.

    Student's t test holds from two pairs on where the differences are about normal. Wilcoxon's
    signed-rank test (1945, Biometrics Bulletin 1, 80-83) needs no more than a symmetric
    distribution, and six pairs that differ.

    Args:
        a: one value per seed, such as the test error in percent.
        b: likewise.
        step: distance between neighbouring values that are possible, such as the percentage of
            one test example; 0 where there is none.

    Raises:
        ValueError: a value of a common seed is None, NaN or infinite.
    """
    difference = mean_difference(a, b, step)
    if difference is None:
        return None
    found = differences(a, b)
    p, reason = t_test(found, step)
    signed, why = signed_rank(found)
    return PairedTests(difference, p, reason, signed, why)


def t_test(values: Sequence[float], step: float = 0.0) -> tuple[float | None, str | None]:
    """Return the two-sided p of Student's test that their mean is zero, or why there is none.

    The standard error is at least that of counted values, as in ``intervals.interval``; p is at
    most 0.05 just where that interval leaves out zero.

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
        if not step:
            return None, "all pairs differ by the same, so their spread is not known"
    t = abs(np.mean(values)) / standard_error(float(np.std(values, ddof=1)), n, step)
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
