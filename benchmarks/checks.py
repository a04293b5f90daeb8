"""Helpers of ``coverage.py``: proportions, their bars, and repeated experiments."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

COVERS, SIZE, NONE = "95 ± 1.5", "≤ 5", ""
LEAST, WIDTH = "≥ 93.5", "≤ 1.3"
Draws = np.random.Generator
Matrix = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Check:
    """A measured proportion in percent, or the ratio of two widths, with its bar.

    Args:
        method: name of the interval or test.
        where: description of the experiments.
        percent: the measured value.
        bar: ``COVERS``, ``SIZE``, ``LEAST``, ``WIDTH`` or ``NONE``.
        trials: number of experiments.
        digits: decimal places of the printed value.
    """

    method: str
    where: str
    percent: float
    bar: str
    trials: int
    digits: int = 1

    @property
    def met(self) -> bool:
        if self.bar == COVERS:
            return abs(self.percent - 95) <= 1.5
        if self.bar in (LEAST, WIDTH):
            return self.percent >= 93.5 if self.bar == LEAST else self.percent <= 1.3
        return self.bar == NONE or self.percent <= 5 + 300 * math.sqrt(0.05 * 0.95 / self.trials)


def often(trials: int, experiment: Callable[[Draws], bool | None]) -> float:
    """Return the percentage of experiments that return True; those that return None are omitted."""
    rng = np.random.default_rng(0)
    results = [result for _ in range(trials) if (result := experiment(rng)) is not None]
    return 100 * sum(results) / len(results)


def plural(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def by_seed(values: npt.NDArray[np.float64]) -> dict[int, float]:
    return dict(enumerate(values.tolist()))


def inside(truth: float, low: float | None, high: float | None) -> bool | None:
    return None if low is None or high is None else low - 1e-9 <= truth <= high + 1e-9
