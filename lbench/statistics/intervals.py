"""Means with their intervals, without SciPy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""
EQUAL = 1e-9
"""Values with at most this distance count as equal."""

# The 97.5 % quantiles of Student's t with 1, 2, … 30 degrees of freedom.
_T = (
    12.706204736, 4.302652730, 3.182446305, 2.776445105, 2.570581836,
    2.446911851, 2.364624252, 2.306004135, 2.262157163, 2.228138852,
    2.200985160, 2.178812830, 2.160368656, 2.144786688, 2.131449546,
    2.119905299, 2.109815578, 2.100922040, 2.093024054, 2.085963447,
    2.079613845, 2.073873068, 2.068657610, 2.063898562, 2.059538553,
    2.055529439, 2.051830516, 2.048407142, 2.045229642, 2.042272456,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Summary:
    """A mean with its standard deviation and interval.

    Args:
        mean: mean of the values, in their unit.
        sd: standard deviation with n - 1; None with one value.
        low: lower end of the 95 % interval; None with one value, and where it is unknown because
            the values have no spread.
        high: upper end of the interval; its distance from the mean may differ from that of ``low``.
        n: number of values.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    n: int

    def as_dict(self) -> dict[str, Any]:
        """Return ``mean``, ``sd``, ``ci95`` (a pair or None), ``n``, as ``--json`` prints them."""
        ends = None if self.low is None else [self.low, self.high]
        return {"mean": self.mean, "sd": self.sd, "ci95": ends, "n": self.n}


def interval(values: Sequence[float], step: float = 0.0) -> Summary:
    """Return the mean with its 95 % Student t interval.

    Counted values, which are multiples of a step, may be nearly equal by chance. Half of their
    interval is therefore at least :func:`least_half_width` steps. Without a step, values without
    spread have no interval.

    Args:
        values: one value per seed.
        step: distance between neighbouring possible values; 0 where there is none.

    Raises:
        ValueError: there is no value, or one is None, NaN or infinite.
    """
    n = len(values)
    if not n:
        raise ValueError("A mean of no values is not defined.")
    check_finite(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Summary(mean, None, None, None, 1)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = quantile(n - 1) * standard_error(sd, n, step)
    if half <= EQUAL:
        return Summary(mean, sd, None, None, n)
    return Summary(mean, sd, mean - half, mean + half, n)


def standard_error(sd: float, n: int, step: float = 0.0) -> float:
    """Return the standard error of a mean of n values, at least what :func:`interval` needs.

    Args:
        sd: standard deviation with n - 1.
        n: number of values, two or more.
        step: distance between neighbouring possible values; 0 where there is none.
    """
    return max(sd / math.sqrt(n), least_half_width(n) * step / quantile(n - 1))


def least_half_width(n: int) -> float:
    """Return the least half width, in steps, of an interval over n counted values.

    Where n counts are equal, up to -ln(0.025) / n of all counts may still differ, with 97.5 %
    confidence (Hanley & Lippman-Hand 1983, JAMA 249, 1743-1745). For two values, 1.5 was measured
    to be enough.
    """
    return min(1.5, -math.log(0.025) / n)


def resolution(examples: int | None) -> float:
    """Return the percentage of one example of a test set; 0 where their number is not known."""
    return 100 / examples if examples else 0.0


def error_interval(values: Iterable[float | None], examples: int | None) -> Summary | None:
    """Return the mean of errors counted on one test set, with its 95 % interval over seeds.

    The interval is for the expected error on this very test set, over seeds. It is the t interval,
    but at least :func:`least_half_width` examples to either side, and never outside 0 to 100 %. It
    holds for 2 to 10 seeds, 300 to 10,000 examples, errors from 1 to 90 % and up to 1 point of
    spread between seeds (``docs/statistics.md``).

    Args:
        values: errors in percent, one per seed; unknown ones are None and left out.
        examples: number of examples on which each was counted; None where unknown, and then
            errors without spread have no interval.

    Returns:
        The mean with its interval; None where no value is known.

    Raises:
        ValueError: an error is not from 0 to 100.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    for value in known:
        check_error(value, examples or 1)
    summary = interval(known, resolution(examples))
    if summary.low is None or summary.high is None:
        return summary
    return replace(summary, low=max(0.0, summary.low), high=min(100.0, summary.high))


def check_finite(values: Iterable[float | None]) -> None:
    """Raise ValueError where a value is None, NaN or infinite."""
    for value in values:
        if value is None or not math.isfinite(value):
            raise ValueError(f"Statistics need finite values, but got {value!r}.")


def check_error(error: float, n: int) -> None:
    """Raise ValueError unless the error is from 0 to 100 percent and there are examples."""
    if not 0 <= error <= 100:
        raise ValueError(f"An error must be from 0 to 100 percent, but got {error!r}.")
    if n < 1:
        raise ValueError(f"A test set must have examples, but got n = {n}.")


def interval_of_known(values: Iterable[float | None]) -> Summary | None:
    """Return :func:`interval` of the values that are not None; None where all are None."""
    known = [value for value in values if value is not None]
    return interval(known) if known else None


def mean_difference(
    a: Mapping[int, float], b: Mapping[int, float], step: float = 0.0
) -> Summary | None:
    """Return the mean of ``a - b`` over the common seeds, with its interval; None without any.

    Args:
        a: one value per seed, such as the test error in percent.
        b: values of the other side.
        step: distance between neighbouring possible values; 0 where there is none.

    Raises:
        ValueError: a value of a common seed is None, NaN or infinite.
    """
    by_seed = differences(a, b)
    return interval(by_seed, step) if by_seed else None


def differences(a: Mapping[int, float], b: Mapping[int, float]) -> list[float]:
    """Return ``a - b`` for each common seed, in the order of the seeds.

    Raises:
        ValueError: a value of a common seed is None, NaN or infinite.
    """
    seeds = sorted(a.keys() & b.keys())
    for side in (a, b):
        check_finite(side[seed] for seed in seeds)
    return [a[seed] - b[seed] for seed in seeds]


def binomial(error: float, n: int) -> tuple[float, float]:
    """Return the Wilson 95 % interval of an error counted on ``n`` independent test examples.

    It covers the choice of the test set, not the choice of seeds.

    Args:
        error: error in percent.
        n: number of test examples.

    Returns:
        Lower and upper end in percent.

    Raises:
        ValueError: the error is not within 0 to 100, or ``n`` is not positive.
    """
    check_error(error, n)
    p, z2 = error / 100, Z * Z / n
    centre = (p + z2 / 2) / (1 + z2)
    half = Z / (1 + z2) * math.sqrt(p * (1 - p) / n + z2 / (4 * n))
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def quantile(df: int) -> float:
    """Return the 97.5 % quantile of Student's t, with an error below 1e-5.

    Raises:
        ValueError: ``df`` is not positive.
    """
    if df < 1:
        raise ValueError(f"Student's t needs at least 1 degree of freedom, but got {df}.")
    if df <= len(_T):
        return _T[df - 1]
    # Cornish-Fisher expansion in 1 / df (Abramowitz & Stegun 26.7.5).
    g1 = (Z**3 + Z) / 4
    g2 = (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96
    g3 = (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384
    return Z + g1 / df + g2 / df**2 + g3 / df**3
