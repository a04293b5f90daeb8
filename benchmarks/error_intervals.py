"""The interval of an error that was counted on a finite test set, on a grid of simulations.

A part of ``coverage.py``. Errors of seeds are counts of wrong test examples, simulated in two ways:

- *rounded*: a seed's error is normal, conditional on 0 to 100 %, and rounded to whole examples;
- *flips*: for every test example, the probability that a seed has it wrong is drawn from a beta
  distribution, so that the spread of seeds follows from the differences between examples.

The truth is the expected count over seeds on this test set. It is computed from the distribution
of the counts, not simulated.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from lbench.statistics.intervals import error_interval, least_half_width, quantile

CHOSEN, FLIPS = "interval of an error", "interval of an error, flips"
Values = npt.NDArray[np.float64]
Half = Callable[[Values, int], Values]
"""Function from standard deviations (draws,) and the number of seeds to half widths in counts."""

SEEDS = range(2, 11)
EXAMPLES = (300, 359, 1000, 3000, 10_000)
ERRORS = (1, 1.1, 1.5, 2, 5, 20, 50, 90)
SPREADS = (0, 0.01, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
ALIKE = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 30.0)
"""Sums of the beta distribution's parameters: the smaller, the fewer examples are uncertain."""
CLOSER, MORE = 40, 50
"""Number of grid points of lowest coverage that are simulated again, and the factor on draws."""


@dataclass(frozen=True)
class Counts:
    """A distribution of the number of wrong examples.

    Args:
        values: possible counts, (counts,).
        chances: their probabilities, (counts,).
        examples: number of test examples.
        where: description of the distribution.
    """

    values: Values
    chances: Values
    examples: int
    where: str

    @property
    def truth(self) -> float:
        """Return the expected count."""
        return float(self.values @ self.chances)

    def draw(self, rng: np.random.Generator, trials: int) -> Values:
        """Draw counts of shape (trials, seeds), with the largest number of seeds of the grid."""
        steps = np.cumsum(self.chances)
        at = np.searchsorted(steps / steps[-1], rng.random((trials, max(SEEDS))))
        return self.values[at]


@dataclass(frozen=True)
class GridPoint:
    """Coverages in percent and the ratio of mean widths at one point of the grid."""

    where: str
    covered: float
    t_covered: float
    wider: float


def t_half(sd: Values, n: int) -> Values:
    return np.asarray(quantile(n - 1) * sd / np.sqrt(n))


def chosen(sd: Values, n: int) -> Values:
    """Return the half width of ``intervals.error_interval``; :func:`measure` compares the two."""
    return np.maximum(t_half(sd, n), least_half_width(n))


def half_a_count(sd: Values, n: int) -> Values:
    return t_half(sd, n) + 0.5


def sheppard(sd: Values, n: int) -> Values:
    return t_half(np.sqrt(sd**2 + 1 / 12), n)


def rounded(examples: int, error: float, spread: float, *, cut: bool = False) -> Counts:
    """Return rounded normal errors; with ``cut``, those below 0 % are 0 % instead of redrawn."""
    mean, sd = error * examples / 100, spread * examples / 100
    where = f"{examples:,} examples, error {error:g} %, SD {spread:g}"
    if not sd:
        return Counts(np.array([np.rint(mean)]), np.ones(1), examples, where)
    low, high = max(0, int(mean - 8 * sd) - 1), min(examples, int(mean + 8 * sd) + 2)
    counts = np.arange(low, high + 1, dtype=float)
    edges = np.clip(np.append(counts - 0.5, high + 0.5), 0, examples)
    if cut:
        edges[0], edges[-1] = -np.inf, np.inf
    chances = np.diff(stats.norm.cdf(edges, mean, sd))
    return Counts(counts, chances / chances.sum(), examples, where)


def flips(examples: int, error: float, alike: float) -> Counts | None:
    """Return counts of flips; None where their spread or error is outside the grid."""
    rng = np.random.default_rng(0)
    share = error / 100
    p = np.clip(np.nan_to_num(rng.beta(alike * share, alike * (1 - share), examples)), 0, 1)
    mean, sd = float(p.sum()), float(np.sqrt((p * (1 - p)).sum()))
    if not 1 <= 100 * mean / examples <= 90 or 100 * sd / examples > 1:
        return None
    # Invert the characteristic function of a sum of Bernoulli variables around its mean.
    size = 1 << int(np.ceil(np.log2(20 * sd + 40)))
    turns = np.exp(-2j * np.pi * np.arange(size) / size)
    logs = np.zeros(size, dtype=complex)
    for part in np.array_split(p, 1 + examples // 500):
        logs += np.log(1 - part[:, None] + part[:, None] * turns + 1e-300).sum(axis=0)
    counts = int(mean) - size // 2 + np.arange(size)
    chances = np.clip(np.fft.ifft(np.exp(logs)).real[counts % size], 0, None)
    where = f"{examples:,} examples, error {100 * mean / examples:.1f} %"
    where += f", SD {100 * sd / examples:.2f}"
    return Counts(counts.astype(float), chances / chances.sum(), examples, where)


def skewed(examples: int, error: float, spread: float) -> Counts:
    """Return errors of a gamma distribution, where some seeds have much higher errors than most."""
    counts = np.arange(0, examples + 1, dtype=float)
    shape, scale = (error / spread) ** 2, spread**2 / error * examples / 100
    chances = np.diff(stats.gamma.cdf(np.append(counts - 0.5, examples + 0.5), shape, scale=scale))
    where = f"{examples:,} examples, error {error:g} %, SD {spread:g}"
    return Counts(counts, chances / chances.sum(), examples, where)


def measure(counts: Counts, n: int, draws: Values, half: Half) -> GridPoint:
    """Return the coverage of an interval and of the t interval, and the ratio of their widths.

    The t interval is not cut at 0 and 100 %.
    """
    used = draws[:, :n]
    mean, sd = used.mean(axis=1), used.std(axis=1, ddof=1)
    wide, plain = half(sd, n), t_half(sd, n)
    low, high = np.maximum(mean - wide, 0), np.minimum(mean + wide, counts.examples)
    if half is chosen:
        for at in range(5):
            summary = error_interval((100 * used[at] / counts.examples).tolist(), counts.examples)
            assert summary is not None
            ends = 100 * np.array([low[at], high[at]]) / counts.examples
            found = np.array([summary.low, summary.high], dtype=np.float64)
            np.testing.assert_allclose(found, ends, atol=1e-6)
    miss = abs(mean - counts.truth)
    t_width = 2 * float(plain.mean())
    return GridPoint(
        f"{n} seeds, {counts.where}",
        100 * float(np.mean((low - 1e-9 <= counts.truth) & (counts.truth <= high + 1e-9))),
        100 * float(np.mean(miss <= plain + 1e-9)),
        float((high - low).mean()) / t_width if t_width else float("inf"),
    )


def grid(every: Sequence[Counts], trials: int, half: Half) -> tuple[GridPoint, GridPoint | None]:
    """Return the grid point of lowest coverage, and that of the largest width relative to t.

    Widths are compared where the t interval itself covers 93.5 to 96.5 %.
    """
    rng = np.random.default_rng(0)
    points: list[tuple[GridPoint, Counts, int]] = []
    for counts in every:
        draws = counts.draw(rng, trials)
        points += [(measure(counts, n, draws, half), counts, n) for n in SEEDS]
    points.sort(key=lambda point: point[0].covered)
    # The lowest of thousands of values is partly chance, so these are measured again.
    again = [
        measure(counts, n, counts.draw(rng, MORE * trials), half)
        for _, counts, n in points[:CLOSER]
    ]
    fair = [point for point, _, _ in points if 93.5 <= point.t_covered <= 96.5]
    return (
        min(again, key=lambda point: point.covered),
        max(fair, key=lambda point: point.wider, default=None),
    )


def all_rounded() -> list[Counts]:
    return [rounded(*point) for point in itertools.product(EXAMPLES, ERRORS, SPREADS)]


def all_flips() -> list[Counts]:
    points = itertools.product(EXAMPLES, ERRORS, ALIKE)
    return [counts for point in points if (counts := flips(*point)) is not None]


def all_cut() -> list[Counts]:
    points = itertools.product(EXAMPLES, ERRORS[:4], SPREADS[-6:])
    return [rounded(*point, cut=True) for point in points]


def all_skewed() -> list[Counts]:
    return [skewed(examples, error, 1.0) for examples in EXAMPLES for error in (1, 2, 5)]


def lines(trials: int) -> Iterator[tuple[str, str, float]]:
    """Yield method, description and value: coverages in percent, and widths relative to t."""
    every = all_rounded()
    methods: list[tuple[str, Sequence[Counts], int, Half]] = [
        (CHOSEN, every, trials, chosen),
        (FLIPS, all_flips(), trials, chosen),
        ("interval of an error, seeds cut at 0 %", all_cut(), trials, chosen),
        ("interval of an error, skewed seeds", all_skewed(), trials, chosen),
        ("t interval (left out for errors)", every, trials // 4, t_half),
        ("t interval, half a count wider (left out)", every, trials // 4, half_a_count),
        ("t interval, variance + 1/12 (left out)", every, trials // 4, sheppard),
    ]
    for method, counts, draws, half in methods:
        lowest, widest = grid(counts, draws, half)
        yield method, f"lowest coverage: {lowest.where}", lowest.covered
        if widest is not None:
            yield method, f"width over t's, at most: {widest.where}", widest.wider
