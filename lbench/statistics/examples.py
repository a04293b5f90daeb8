"""Tests of two configurations on the same test examples.

The choice of test examples is the other source of chance beside the seeds. These tests are about
the trained networks, with the seeds that they had; ``paired_tests`` is about other seeds. A
two-way bootstrap over seeds and examples together was tried and left out: its 95 % intervals
cover 88 % of the time with 3 seeds and 92 % with 5 (``benchmarks/coverage.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lbench.statistics.signs import two_sided

Right = npt.NDArray[np.bool_]
"""Which predictions are right: (examples,), or (seeds, examples)."""

DIFFER = 15
"""Smallest number of differing examples from which a bootstrap interval is made."""
DRAWS = 10_000


@dataclass(frozen=True, slots=True)
class Examples:
    """The difference between trained networks, tested over test examples.

    Args:
        n: number of examples.
        seeds: number of networks of each configuration, averaged for every example.
        points: difference of the mean errors, in percentage points.
        low: lower end of the 95 % bootstrap interval; None where there is none.
        high: upper end of the interval; None likewise.
        reason: why there is no interval; None where there is one.
        worse: number of examples on which the first configuration is wrong more often.
        better: number of examples on which the second configuration is wrong more often.
        p: p-value of McNemar's exact two-sided test, which reports use.
        p_mid: its mid-p, which is less conservative.
    """

    n: int
    seeds: int
    points: float
    low: float | None
    high: float | None
    reason: str | None
    worse: int
    better: int
    p: float
    p_mid: float


def right(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> Right:
    """Return whether the highest logit is that of the label: (examples,).

    Args:
        logits: (examples, classes).
        labels: (examples,).
    """
    return np.asarray(logits.argmax(axis=1) == labels)


def examples(a: Right, b: Right) -> Examples:
    """Test the error of ``a`` minus that of ``b``, paired by example.

    McNemar's test (1947, Psychometrika 12, 153-157) in its exact form keeps its level for every n.
    With several seeds, the term of an example is how many more seeds of ``a`` than of ``b`` are
    wrong on it, and all combinations of signs of these terms are counted. With one seed this is
    McNemar's test. Examples are never counted once per seed, as if there were more of them. The
    mid-p is that of Fagerland, Lydersen & Laake (2013, BMC Medical Research Methodology 13:91).

    The interval is the percentile bootstrap over examples (Efron & Tibshirani 1993, chapter 13)
    of the mean over seeds, with the same examples for both. It holds for 360 examples and more,
    of which about 20 or more differ; with fewer than 15 there is no interval.

    Args:
        a: which predictions are right: (examples,), or (seeds, examples).
        b: the same for the other side, with the same examples and seeds.

    Raises:
        ValueError: they have different shapes, or are empty.
    """
    a, b = np.atleast_2d(a), np.atleast_2d(b)
    if a.shape != b.shape or not a.size:
        raise ValueError(
            f"Both sides must have the same seeds and examples, but got {a.shape} and {b.shape}."
        )
    seeds, n = a.shape
    worse = b.sum(axis=0, dtype=np.int64) - a.sum(axis=0, dtype=np.int64)
    p, p_mid = two_sided(worse)
    differ = int(np.count_nonzero(worse))
    low = high = reason = None
    if differ < DIFFER:
        reason = f"{differ} examples differ, but an interval needs {DIFFER}"
    else:
        low, high = _bootstrap(worse, seeds)
    return Examples(
        n=n,
        seeds=seeds,
        points=100 * float(worse.mean()) / seeds,
        low=low,
        high=high,
        reason=reason,
        worse=int((worse > 0).sum()),
        better=int((worse < 0).sum()),
        p=p,
        p_mid=p_mid,
    )


def _bootstrap(worse: npt.NDArray[np.int64], seeds: int) -> tuple[float, float]:
    """Return 2.5 and 97.5 % quantiles of the mean of resampled examples, in percentage points."""
    values, counts = np.unique(worse, return_counts=True)
    n = len(worse)
    # To draw n examples is to draw how often each of the few values occurs. The seed is fixed, so
    # that a comparison has the same result every time.
    drawn = np.random.default_rng(0).multinomial(n, counts / n, size=DRAWS)
    low, high = np.percentile(drawn @ values, [2.5, 97.5])
    return 100 * float(low) / (n * seeds), 100 * float(high) / (n * seeds)
