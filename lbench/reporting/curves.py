"""Values over training as arrays, smoothed and thinned for a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


def smooth(values: Numbers, window: int) -> Numbers:
    """Return the mean over a window around each value, fewer at both ends, without NaN."""
    import pandas as pd

    if window < 2:
        return values
    means = pd.Series(values).rolling(window, center=True, min_periods=1).mean()
    return np.asarray(means, np.float64)


def thinned(length: int, most: int = 300) -> Sequence[int]:
    """Return at most ``most`` indices of a row of this length, with the first and the last."""
    at = np.linspace(0, length - 1, min(length, most)).round().astype(int)
    indices: list[int] = np.unique(at).tolist()
    return indices
