"""The interval of an error that was counted on a finite test set, on a grid of simulations.

A part of ``coverage.py``. Errors of seeds are counts of wrong test examples, made up in two ways:

- *rounded*: a seed's error is normal, conditional on 0 to 100 %, and rounded to whole examples;
- *flips*: every test example has a probability of its own that a seed has it wrong, drawn from a
  beta distribution, so that how seeds spread follows from how the examples differ.

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
"""Half the width in counts, from standard deviations (draws,) and the number of seeds."""

SEEDS = range(2, 11)
EXAMPLES = (300, 359, 1000, 3000, 10_000)
ERRORS = (1, 1.1, 1.5, 2, 5, 20, 50, 90)
SPREADS = (0, 0.01, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
ALIKE = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 30.0)
"""Sums of the beta distribution's parameters: the smaller, the fewer examples are in doubt."""
CLOSER, MORE = 40, 50
"""Number of grid cells with the lowest coverage that are simulated again; factor on their draws."""


@dataclass(frozen=True)
class Counts:
    """A distribution of wrong examples.

    Args:
        values: counts, (counts,).
        chances: of each, (counts,).
        examples: of the test set.
        where: what it is of.
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
        """Return counts of (trials, seeds), as many seeds as the grid has at most."""
        steps = np.cumsum(self.chances)
        at = np.searchsorted(steps / steps[-1], rng.random((trials, max(SEEDS))))
        return self.values[at]


@dataclass(frozen=True)
class Cell:
    """What was found at one place of the grid: coverages in percent, and mean widths."""

    where: str
    covered: float
    t_covered: float
    wider: float


def t_half(sd: Values, n: int) -> Values:
    return np.asarray(quantile(n - 1) * sd / np.sqrt(n))


def chosen(sd: Values, n: int) -> Values:
    """What ``intervals.error_interval`` does; :func:`measure` checks that it is the same."""
    return np.maximum(t_half(sd, n), least_half_width(n))


def half_a_count(sd: Values, n: int) -> Values:
    return t_half(sd, n) + 0.5


def sheppard(sd: Values, n: int) -> Values:
    return t_half(np.sqrt(sd**2 + 1 / 12), n)


def rounded(examples: int, error: float, spread: float, *, cut: bool = False) -> Counts:
    """With ``cut``, errors that would be below 0 % are 0 %, instead of being drawn again."""
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
    """None where seeds spread by more than the grid has, or the error is out of it."""
    rng = np.random.default_rng(0)
    share = error / 100
    p = np.clip(np.nan_to_num(rng.beta(alike * share, alike * (1 - share), examples)), 0, 1)
    mean, sd = float(p.sum()), float(np.sqrt((p * (1 - p)).sum()))
    if not 1 <= 100 * mean / examples <= 90 or 100 * sd / examples > 1:
        return None
    # The characteristic function of a sum of coins, inverted around its mean.
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
    """Errors of a gamma distribution, as when some seeds do much worse than most."""
    counts = np.arange(0, examples + 1, dtype=float)
    shape, scale = (error / spread) ** 2, spread**2 / error * examples / 100
    chances = np.diff(stats.gamma.cdf(np.append(counts - 0.5, examples + 0.5), shape, scale=scale))
    where = f"{examples:,} examples, error {error:g} %, SD {spread:g}"
    return Counts(counts, chances / chances.sum(), examples, where)


def measure(each: Counts, n: int, draws: Values, half: Half) -> Cell:
    """Return the coverage of an interval, that of t, and how much wider it is.

    Widths are compared with t's own, which is not cut at 0 and 100 %.
    """
    seen = draws[:, :n]
    mean, sd = seen.mean(axis=1), seen.std(axis=1, ddof=1)
    wide, plain = half(sd, n), t_half(sd, n)
    low, high = np.maximum(mean - wide, 0), np.minimum(mean + wide, each.examples)
    if half is chosen:
        for at in range(5):
            found = error_interval((100 * seen[at] / each.examples).tolist(), each.examples)
            assert found is not None
            ends = 100 * np.array([low[at], high[at]]) / each.examples
            np.testing.assert_allclose([found.low, found.high], ends, atol=1e-6)
    miss = abs(mean - each.truth)
    t_width = 2 * float(plain.mean())
    return Cell(
        f"{n} seeds, {each.where}",
        100 * float(np.mean((low - 1e-9 <= each.truth) & (each.truth <= high + 1e-9))),
        100 * float(np.mean(miss <= plain + 1e-9)),
        float((high - low).mean()) / t_width if t_width else float("inf"),
    )


def grid(every: Sequence[Counts], trials: int, half: Half) -> tuple[Cell, Cell | None]:
    """Return the cell of lowest coverage, and the one of most width over t's.

    The width is looked at where t itself covers 93.5 to 96.5 %.
    """
    rng = np.random.default_rng(0)
    cells: list[tuple[Cell, Counts, int]] = []
    for each in every:
        draws = each.draw(rng, trials)
        cells += [(measure(each, n, draws, half), each, n) for n in SEEDS]
    cells.sort(key=lambda cell: cell[0].covered)
    # The lowest of thousands of cells is so by luck too.
    again = [measure(each, n, each.draw(rng, MORE * trials), half) for _, each, n in cells[:CLOSER]]
    fair = [cell for cell, _, _ in cells if 93.5 <= cell.t_covered <= 96.5]
    return (
        min(again, key=lambda cell: cell.covered),
        max(fair, key=lambda cell: cell.wider, default=None),
    )


def of_rounded() -> list[Counts]:
    return [rounded(*place) for place in itertools.product(EXAMPLES, ERRORS, SPREADS)]


def of_flips() -> list[Counts]:
    places = itertools.product(EXAMPLES, ERRORS, ALIKE)
    return [found for place in places if (found := flips(*place)) is not None]


def of_cut() -> list[Counts]:
    places = itertools.product(EXAMPLES, ERRORS[:4], SPREADS[-6:])
    return [rounded(*place, cut=True) for place in places]


def of_skewed() -> list[Counts]:
    return [skewed(examples, error, 1.0) for examples in EXAMPLES for error in (1, 2, 5)]


def lines(trials: int) -> Iterator[tuple[str, str, float]]:
    """Yield what was found of which method: coverages in percent, and widths in times t's."""
    every = of_rounded()
    methods: list[tuple[str, Sequence[Counts], int, Half]] = [
        (CHOSEN, every, trials, chosen),
        (FLIPS, of_flips(), trials, chosen),
        ("interval of an error, seeds cut at 0 %", of_cut(), trials, chosen),
        ("interval of an error, skewed seeds", of_skewed(), trials, chosen),
        ("t interval (left out for errors)", every, trials // 4, t_half),
        ("t interval, half a count wider (left out)", every, trials // 4, half_a_count),
        ("t interval, variance + 1/12 (left out)", every, trials // 4, sheppard),
    ]
    for method, counts, draws, half in methods:
        lowest, widest = grid(counts, draws, half)
        yield method, f"lowest coverage: {lowest.where}", lowest.covered
        if widest is not None:
            yield method, f"width over t's, at most: {widest.where}", widest.wider
