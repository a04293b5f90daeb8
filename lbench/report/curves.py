"""Values over training as arrays, smoothed and thinned for a figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


def numbers(values: Iterable[float | None]) -> Numbers:
    """Return values as an array; NaN for None."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def smooth(values: Numbers, window: int) -> Numbers:
    """Return the mean over a window around each value, fewer at both ends, without NaN."""
    if window < 2:
        return values
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    at = np.arange(len(values))
    low, high = np.maximum(0, at - window // 2), np.minimum(len(values), at + (window + 1) // 2)
    total = counts[high] - counts[low]
    with np.errstate(invalid="ignore"):
        return np.asarray(
            np.where(total > 0, (sums[high] - sums[low]) / np.maximum(total, 1), np.nan)
        )


def thinned(length: int, most: int = 300) -> Sequence[int]:
    """Return at most ``most`` indices of a row of this length, with the first and the last."""
    if length <= most:
        return range(length)
    return sorted({round(at) for at in np.linspace(0, length - 1, most)})
