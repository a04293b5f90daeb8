"""Aggregates over several datasets: interquartile mean and probability of improvement.

Agarwal, Schwarzer, Castro, Courville & Bellemare (2021, NeurIPS), "Deep reinforcement learning at
the edge of the statistical precipice". Their stratified bootstrap draws seeds within each dataset.
The datasets are fixed, so an interval says nothing about datasets that were not tried.

With few seeds that bootstrap is too narrow: the variance of drawn seeds is (n - 1) / n of that of
seeds. Here the distance of drawn values from their dataset's mean is multiplied by
sqrt(n / (n - 1)) (Rao & Wu 1988, Journal of the American Statistical Association 83, 231-241).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

Values = npt.NDArray[np.float64]
DatasetValues = Mapping[str, Sequence[float]]
"""Values by dataset, one per seed."""

DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A number aggregated over datasets.

    Args:
        value: the number.
        low: lower end of the 95 % interval; None where a dataset has one seed.
        high: upper end of the interval; None likewise.
        datasets: number of datasets.
        seeds: number of seeds of the dataset that has fewest.
        holds: whether there are enough seeds and datasets for the interval to have its stated
            coverage; otherwise it is too narrow.
    """

    value: float
    low: float | None
    high: float | None
    datasets: int
    seeds: int
    holds: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as ``--json`` prints them."""
        return {
            "value": self.value,
            "ci95": None if self.low is None else [self.low, self.high],
            "datasets": self.datasets,
            "seeds": self.seeds,
            "holds": self.holds,
        }


def interquartile_mean(values: DatasetValues, over: DatasetValues | None = None) -> Aggregate:
    """Return the mean of the middle half of all values, with equal weight for every dataset.

    The values must be comparable between datasets: errors are not, but ratios of errors to those
    of ``bp`` on the same dataset are. Exactly half of the weight is kept, so the outermost of the
    kept values may count in part.

    The interval widens the quantiles as Student's t does (Hesterberg 2015, The American
    Statistician 69, 371-386). It holds for 5 seeds per dataset or more with 5 datasets or more,
    and for 20 or more with fewer datasets. With 3 seeds on 3 datasets 95 % intervals cover about
    90 %. The mean of a control with few seeds is as uncertain as the values that it divides, so
    its seeds are drawn too; if it were taken to be exact, the intervals would cover about 85 %.

    Args:
        values: values by dataset, one per seed.
        over: values of a control by dataset; their mean divides those of ``values``. Where both
            have the same number of values, the same indices are drawn, so give them in the same
            order of seeds.

    Raises:
        ValueError: there is no dataset, one has no values or no control, a value is not finite,
            or the mean of a control is not positive.
    """
    strata = _strata(values)
    controls = None if over is None else _strata({name: over.get(name, ()) for name in values})
    if controls is not None and min(control.mean() for control in controls) <= 0:
        raise ValueError("A control must have a positive mean.")
    scaled = strata
    if controls is not None:
        scaled = [own / control.mean() for own, control in zip(strata, controls, strict=True)]
    weights = np.concatenate([np.full(len(stratum), 1 / len(stratum)) for stratum in strata])
    value = float(_middle(np.concatenate(scaled)[None], weights)[0])
    seeds = min(map(len, strata + (controls or [])))
    low = high = None
    if seeds > 1:
        rng = np.random.default_rng(0)
        if controls is None:
            drawn = [_resampled(stratum, rng) for stratum in strata]
        else:
            drawn = [_ratios(*pair, rng) for pair in zip(strata, controls, strict=True)]
        df = sum(len(stratum) - 1 for stratum in strata)
        tail = float(stats.norm.cdf(stats.t.ppf(0.025, df)))
        low, high = _ends(_middle(np.concatenate(drawn, axis=1), weights), tail)
    holds = seeds >= 20 or (seeds >= 5 and len(strata) >= 5)
    return Aggregate(value, low, high, len(strata), seeds, holds)


def probability_of_improvement(a: DatasetValues, b: DatasetValues) -> Aggregate:
    """Return the probability that a run of ``a`` has a lower value than one of ``b``.

    It is the mean over datasets of Mann & Whitney's U (1947) divided by the number of pairs; equal
    values count half. Only ranks within a dataset matter, so errors need not be scaled.

    The interval holds for 5 seeds per dataset or more with 3 datasets or more, and for 10 or more
    with fewer datasets, unless one side always wins: then it shrinks to a point.

    Args:
        a: values by dataset, one per seed, such as errors.
        b: values of the other side; only datasets that both have are used.

    Raises:
        ValueError: there is no common dataset, one has no values, or a value is not finite.
    """
    common = [name for name in a if name in b]
    left = _strata({name: a[name] for name in common})
    right = _strata({name: b[name] for name in common})
    value = float(np.mean([_lower(x[None], y[None])[0] for x, y in zip(left, right, strict=True)]))
    seeds = min(map(len, left + right))
    low = high = None
    if seeds > 1:
        rng = np.random.default_rng(0)
        drawn = [
            _lower(_resampled(x, rng), _resampled(y, rng)) for x, y in zip(left, right, strict=True)
        ]
        low, high = _ends(np.mean(drawn, axis=0), 0.025)
    holds = (seeds >= 10 or (seeds >= 5 and len(common) >= 3)) and 0 < value < 1
    return Aggregate(value, low, high, len(common), seeds, holds)


def _strata(values: DatasetValues) -> list[Values]:
    strata = [np.asarray(seeds, dtype=np.float64) for seeds in values.values()]
    if not strata or not all(len(stratum) for stratum in strata):
        raise ValueError("There must be a dataset, and every dataset must have a value.")
    if not all(np.isfinite(stratum).all() for stratum in strata):
        raise ValueError("An aggregate needs finite values.")
    return strata


def _resampled(values: Values, rng: np.random.Generator) -> Values:
    """Return (draws, n) values drawn with replacement, with the variance of the values."""
    return _spread(values, rng.integers(len(values), size=(DRAWS, len(values))))


def _ratios(values: Values, control: Values, rng: np.random.Generator) -> Values:
    """Return (draws, n) drawn values, divided by the mean of drawn values of the control."""
    indices = rng.integers(len(values), size=(DRAWS, len(values)))
    control_indices = indices
    if len(control) != len(values):
        control_indices = rng.integers(len(control), size=(DRAWS, len(control)))
    means = _spread(control, control_indices).mean(axis=1, keepdims=True)
    return np.asarray(_spread(values, indices) / means)


def _spread(values: Values, indices: npt.NDArray[np.int64]) -> Values:
    """Return the values at these indices, moved away from the mean to have the seeds' variance."""
    n = len(values)
    return np.asarray(values.mean() + math.sqrt(n / (n - 1)) * (values[indices] - values.mean()))


def _middle(values: Values, weights: Values) -> Values:
    """Return the mean over the middle half of the weight of each row: (rows, n) to (rows,)."""
    order = np.argsort(values, axis=1)
    above = np.cumsum(weights[order], axis=1) / weights.sum()
    below = np.concatenate([np.zeros((len(values), 1)), above[:, :-1]], axis=1)
    middle_weights = np.clip(np.minimum(above, 0.75) - np.maximum(below, 0.25), 0, None)
    return np.asarray((np.take_along_axis(values, order, axis=1) * middle_weights).sum(axis=1) * 2)


def _lower(x: Values, y: Values) -> Values:
    """Return the share of pairs with x below y, ties half: (rows, n), (rows, m) to (rows,)."""
    differences = x[:, :, None] - y[:, None, :]
    return np.asarray(((differences < 0) + 0.5 * (differences == 0)).mean(axis=(1, 2)))


def _ends(drawn: Values, tail: float) -> tuple[float, float]:
    low, high = np.percentile(drawn, [100 * tail, 100 * (1 - tail)])
    return float(low), float(high)
