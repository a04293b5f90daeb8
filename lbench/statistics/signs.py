"""Exact tests of terms whose signs are random under the hypothesis."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve
from scipy.stats import binom


def two_sided(terms: npt.NDArray[np.integer]) -> tuple[float, float]:
    """Return how often a sum with random signs is at least as far from zero as that of ``terms``.

    The signs are independent and fair under the hypothesis. All combinations of signs are counted
    rather than sampled (Fisher 1935, The Design of Experiments, section 21). McNemar's exact test
    and Wilcoxon's signed-rank test are of this kind. The result holds for every n.

    Args:
        terms: integers; zeros do not count.

    Returns:
        The exact p, and the mid-p, in which equally distant sums count half. With terms of
        several sizes both are accurate to about 1e-13.
    """
    sizes, counts = np.unique(np.abs(terms[terms != 0]), return_counts=True)
    if not len(sizes):
        return 1.0, 1.0
    sizes = sizes // np.gcd.reduce(sizes)
    scale = int(np.abs(terms[terms != 0]).min()) // int(sizes[0])
    chances: npt.NDArray[np.float64] | None = None
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        # The sum of these terms is size * (2 * positives - count).
        term_chances = np.zeros(size * count + 1)
        term_chances[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        if chances is None:
            chances = term_chances
        else:
            chances = np.maximum(fftconvolve(chances, term_chances), 0.0)
    assert chances is not None
    far = np.abs(2 * np.arange(len(chances)) - (len(chances) - 1))
    observed = abs(int(terms.sum())) // scale
    p = min(1.0, float(chances[far >= observed].sum()))
    return p, max(0.0, p - float(chances[far == observed].sum()) / 2)
