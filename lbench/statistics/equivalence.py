"""Equivalence tests: whether two configurations are equal up to a margin stated in advance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from lbench.statistics.intervals import EQUAL, check_finite, differences, standard_error
from lbench.statistics.multiple import LEVEL

EQUIVALENT, DIFFERENT, UNDECIDED = "equivalent", "different", "undecided"


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Results of two one-sided tests.

    Args:
        difference: difference of the means.
        low: lower end of its 90 % interval; None where the spread is not known.
        high: upper end of the interval; None likewise.
        margin: largest difference that counts as equal, stated before the results are known.
        p: p-value of equivalence, the larger of the two one-sided ones; None likewise.
        p_different: p-value of the two-sided test that the means are equal; None likewise.
        n: number of values of each side; the number of pairs where they are paired.
        verdict: ``equivalent`` where the 90 % interval is inside ± margin, which is the same as
            p <= 0.05. Otherwise ``different`` where the means differ at 5 %, and ``undecided``
            where more seeds are needed. Without a step, three pairs or more without any spread
            are ``equivalent`` where their difference is inside the margin, otherwise
            ``different``.
    """

    difference: float
    low: float | None
    high: float | None
    margin: float
    p: float | None
    p_different: float | None
    n: tuple[int, int]
    verdict: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as ``--json`` prints them."""
        return {
            "difference": self.difference,
            "ci90": None if self.low is None else [self.low, self.high],
            "margin": self.margin,
            "p": self.p,
            "p_different": self.p_different,
            "n": list(self.n),
            "verdict": self.verdict,
        }


def paired_equivalence(
    a: Mapping[int, float], b: Mapping[int, float], margin: float, step: float = 0.0
) -> Equivalence | None:
    """Make two one-sided t tests of ``a - b`` on the common seeds; return None without any.

    Schuirmann (1987, Journal of Pharmacokinetics and Biopharmaceutics 15, 657-680). It holds for
    two pairs or more where differences are about normal; with few pairs it is mostly undecided.

    Args:
        a: one value per seed, such as the test error in percent.
        b: values of the other side.
        margin: largest difference that counts as equal, in the unit of the values.
        step: distance between neighbouring possible values; the standard error is then at least
            that of counted values, as in ``intervals.interval``.

    Raises:
        ValueError: the margin is not positive, or a value of a common seed is not finite.
    """
    by_seed = differences(a, b)
    n = len(by_seed)
    if not n:
        return None
    error = standard_error(float(np.std(by_seed, ddof=1)), n, step) if n > 1 else 0.0
    return _decide(float(np.mean(by_seed)), error, n - 1, margin, (n, n))


def welch_equivalence(a: Sequence[float], b: Sequence[float], margin: float) -> Equivalence:
    """Make two one-sided tests for unpaired values, which may have different spreads (Welch 1947).

    It holds for five values per side or more. With three values against many, up to 5.7 % of
    results are false instead of 5 %, and with two up to 7 %.

    Args:
        a: values of one side.
        b: values of the other side.
        margin: largest difference that counts as equal, in the unit of the values.

    Raises:
        ValueError: the margin is not positive, a side is empty, or a value is not finite.
    """
    if not a or not b:
        raise ValueError("Both sides must have a value.")
    check_finite([*a, *b])
    difference = float(np.mean(a) - np.mean(b))
    sizes = (len(a), len(b))
    if min(sizes) < 2:
        return _decide(difference, 0.0, 0, margin, sizes)
    parts = [float(np.var(side, ddof=1)) / len(side) for side in (a, b)]
    total = sum(parts)
    # Welch & Satterthwaite's degrees of freedom.
    denominator = sum(part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True))
    df = total**2 / denominator if denominator else 0.0
    return _decide(difference, math.sqrt(total), df, margin, sizes)


def _decide(
    difference: float, error: float, df: float, margin: float, n: tuple[int, int]
) -> Equivalence:
    if not 0 < margin < math.inf:
        raise ValueError(f"A margin must be positive and finite, but got {margin!r}.")
    if df <= 0 or error <= EQUAL:
        verdict = EQUIVALENT if abs(difference) < margin else DIFFERENT
        if min(n) < 3:
            verdict = UNDECIDED
        return Equivalence(difference, None, None, margin, None, None, n, verdict)
    half = float(stats.t.ppf(1 - LEVEL, df)) * error
    p = float(stats.t.sf((margin - abs(difference)) / error, df))
    p_different = 2 * float(stats.t.sf(abs(difference) / error, df))
    verdict = EQUIVALENT if p <= LEVEL else DIFFERENT if p_different <= LEVEL else UNDECIDED
    low, high = difference - half, difference + half
    return Equivalence(difference, low, high, margin, p, p_different, n, verdict)
