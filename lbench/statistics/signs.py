"""Exact tests of terms whose signs could as well have been the other way round."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve
from scipy.stats import binom


def two_sided(terms: npt.NDArray[np.integer]) -> tuple[float, float]:
    """How often a sum of ``terms`` with random signs is at least as far from zero as this one.

    The signs are independent and fair under the hypothesis; all of their combinations are
    counted, none is drawn (Fisher 1935, The Design of Experiments, section 21). McNemar's exact
    test and Wilcoxon's signed-rank test are both of this kind. It holds for every n.

    Args:
        terms: whole numbers; zeros do not count.

    Returns:
        The exact p, and the mid-p, in which equally distant sums count half. With terms of
        several sizes they are right to about 1e-13.
    """
    sizes, counts = np.unique(np.abs(terms[terms != 0]), return_counts=True)
    if not len(sizes):
        return 1.0, 1.0
    sizes = sizes // np.gcd.reduce(sizes)
    scale = int(np.abs(terms[terms != 0]).min()) // int(sizes[0])
    chances: npt.NDArray[np.float64] | None = None
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        # The sum of these terms is size * (2 * positives - count).
        each = np.zeros(size * count + 1)
        each[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = each if chances is None else np.maximum(fftconvolve(chances, each), 0.0)
    assert chances is not None
    far = np.abs(2 * np.arange(len(chances)) - (len(chances) - 1))
    seen = abs(int(terms.sum())) // scale
    p = min(1.0, float(chances[far >= seen].sum()))
    return p, max(0.0, p - float(chances[far == seen].sum()) / 2)
