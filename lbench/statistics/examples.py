"""Two cells on the same test examples: whether their networks differ on others too.

This is the other source of chance beside the seeds. All that is said here is of the networks
that were trained, with the seeds that they had; what other seeds would give is for ``paired``.
A two-way bootstrap over seeds and examples together was tried and left out: its 95 % intervals
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
"""With fewer examples on which two cells differ the bootstrap has too little to draw from."""
DRAWS = 10_000


@dataclass(frozen=True, slots=True)
class Examples:
    """What the test examples say of a difference between trained networks.

    Args:
        n: examples.
        seeds: networks of each cell, averaged over for every example.
        points: difference of the mean errors, in percentage points.
        low: lower end of the 95 % bootstrap interval; None where there is none.
        high: upper end.
        reason: why there is no interval.
        worse: examples on which the first cell is wrong more often than the second.
        better: the other way round.
        p: McNemar's, exact and two-sided: this is the one that is reported.
        p_mid: its mid-p, for those who find the exact test too cautious.
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
    """Whether the highest logit is the label's: (examples,).

    Args:
        logits: (examples, classes).
        labels: (examples,).
    """
    return np.asarray(logits.argmax(axis=1) == labels)


def examples(a: Right, b: Right) -> Examples:
    """The error of ``a`` minus that of ``b``, paired by example.

    McNemar's test (1947, Psychometrika 12, 153-157) in its exact form never rejects too often,
    whatever n. With several seeds an example counts by how much oftener ``a`` is wrong than
    ``b``, and the signs of these counts are what chance could have turned: one seed gives
    McNemar's test itself, and examples are not counted once a seed as if they were others. The
    mid-p is Fagerland, Lydersen & Laake's (2013, BMC Medical Research Methodology 13:91).

    The interval is the percentile bootstrap over examples (Efron & Tibshirani 1993, chapter 13)
    of the mean over seeds, the same examples for both. It holds for 360 examples and more, of
    which about 20 or more differ; below 15 there is none.

    Args:
        a: (examples,), or (seeds, examples).
        b: likewise, of the same examples and seeds.

    Raises:
        ValueError: they are not of one shape, or empty.
    """
    a, b = np.atleast_2d(a), np.atleast_2d(b)
    if a.shape != b.shape or not a.size:
        raise ValueError(f"Both must have the same seeds and examples, got {a.shape}, {b.shape}.")
    seeds, n = a.shape
    worse = b.sum(axis=0, dtype=np.int64) - a.sum(axis=0, dtype=np.int64)
    p, p_mid = two_sided(worse)
    differ = int(np.count_nonzero(worse))
    low = high = reason = None
    if differ < DIFFER:
        reason = f"{differ} examples differ, an interval needs {DIFFER}"
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
    """2.5 and 97.5 % quantiles of the mean of resampled examples, in percentage points."""
    values, counts = np.unique(worse, return_counts=True)
    n = len(worse)
    # Drawing n examples is drawing how often each of the few values occurs. The same numbers
    # every time, so that a comparison looks the same every time.
    drawn = np.random.default_rng(0).multinomial(n, counts / n, size=DRAWS)
    low, high = np.percentile(drawn @ values, [2.5, 97.5])
    return 100 * float(low) / (n * seeds), 100 * float(high) / (n * seeds)
