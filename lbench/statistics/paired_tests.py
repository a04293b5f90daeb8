"""Tests of the difference between two configurations on common seeds."""

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
"""Smallest number of pairs with which Wilcoxon's p can be below 0.05; with five it is 0.0625."""


@dataclass(frozen=True, slots=True)
class PairedTests:
    """Tests of a difference over common seeds.

    Args:
        difference: mean difference with its t interval.
        p: two-sided p of the paired t test; None where there is no test.
        reason: why there is no t test; None where there is one.
        wilcoxon: two-sided p of the signed-rank test; None where there is no test.
        wilcoxon_reason: why there is no signed-rank test; None where there is one.
    """

    difference: Summary
    p: float | None
    reason: str | None
    wilcoxon: float | None
    wilcoxon_reason: str | None


def paired_tests(
    a: Mapping[int, float], b: Mapping[int, float], step: float = 0.0
) -> PairedTests | None:
    """Test ``a - b`` over the common seeds; return None without any.

    Student's t test holds for two pairs or more where the differences are about normal. Wilcoxon's
    signed-rank test (1945, Biometrics Bulletin 1, 80-83) requires only a symmetric distribution
    and six pairs that differ.

    Args:
        a: one value per seed, such as the test error in percent.
        b: values of the other side.
        step: distance between neighbouring possible values, such as the percentage of one test
            example; 0 where there is none.

    Raises:
        ValueError: a value of a common seed is None, NaN or infinite.
    """
    difference = mean_difference(a, b, step)
    if difference is None:
        return None
    by_seed = differences(a, b)
    p, reason = t_test(by_seed, step)
    wilcoxon, wilcoxon_reason = signed_rank(by_seed)
    return PairedTests(difference, p, reason, wilcoxon, wilcoxon_reason)


def t_test(values: Sequence[float], step: float = 0.0) -> tuple[float | None, str | None]:
    """Return the two-sided p of Student's test that the mean is zero, or the reason for none.

    The standard error is at least that of counted values, as in ``intervals.interval``; p is at
    most 0.05 exactly where that interval excludes zero.

    Raises:
        ValueError: a difference is None, NaN or infinite.
    """
    check_finite(values)
    n = len(values)
    if n < 2:
        return None, "one pair has no spread"
    if np.ptp(values) <= EQUAL:
        # Errors are multiples of one example, so this happens by chance; p must not be 0.
        if abs(values[0]) <= EQUAL:
            return 1.0, None
        if not step:
            return None, "all pairs have the same difference, so its spread is not known"
    t = abs(np.mean(values)) / standard_error(float(np.std(values, ddof=1)), n, step)
    return 2 * float(stdtr(n - 1, -t)), None


def signed_rank(values: Sequence[float]) -> tuple[float | None, str | None]:
    """Return the exact two-sided p of Wilcoxon's test, or the reason for none.

    Ties have their mean rank. Zeros are left out, as Wilcoxon did.

    Raises:
        ValueError: a difference is None, NaN or infinite.
    """
    check_finite(values)
    differ = np.asarray([value for value in values if abs(value) > EQUAL])
    if len(differ) < PAIRS:
        return None, f"it needs {PAIRS} pairs that differ, but there are {len(differ)}"
    ranks = rankdata(np.round(np.abs(differ) / EQUAL))
    # Mean ranks are multiples of one half.
    terms = np.rint(2 * ranks * np.sign(differ)).astype(np.int64)
    return two_sided(terms)[0], None
