"""Over several datasets: the interquartile mean, and how probably one cell does better.

Agarwal, Schwarzer, Castro, Courville & Bellemare (2021, NeurIPS), "Deep reinforcement learning at
the edge of the statistical precipice". Their stratified bootstrap draws seeds within each dataset;
the datasets stay, so an interval says nothing of datasets that were not tried.

With few seeds that bootstrap is too narrow: the drawn seeds spread by (n - 1) / n of what seeds
do. Here drawn values are moved away from their dataset's mean by sqrt(n / (n - 1)) (Rao & Wu
1988, Journal of the American Statistical Association 83, 231-241).
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
"""By dataset, a value a seed."""

DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A number over datasets.

    Args:
        value: it.
        low: lower end of the 95 % interval; None where a dataset has one seed.
        high: upper end.
        datasets: how many.
        seeds: of the dataset that has fewest.
        holds: whether there are so many that the interval was found to cover what it says;
            otherwise it is too narrow.
    """

    value: float
    low: float | None
    high: float | None
    datasets: int
    seeds: int
    holds: bool

    def as_dict(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "value": self.value,
            "ci95": None if self.low is None else [self.low, self.high],
            "datasets": self.datasets,
            "seeds": self.seeds,
            "holds": self.holds,
        }


def interquartile_mean(scores: DatasetValues, over: DatasetValues | None = None) -> Aggregate:
    """The mean of the middle half of all values, every dataset with the same weight.

    The values must be comparable between datasets: errors are not, errors over those of ``bp`` on
    the same dataset are. Exactly half of the weight is kept, so that the outermost of the kept
    values may count in part.

    The interval widens the quantiles as Student's t does (Hesterberg 2015, The American
    Statistician 69, 371-386). It holds from 5 seeds a dataset on with 5 datasets or more, and
    from 20 on with fewer; with 3 seeds on 3 datasets 95 % intervals cover about 90 %. A control
    with as few seeds is as uncertain as what it divides: its seeds are drawn as well, for divided
    by a mean that is taken to be exact the intervals would cover about 85 %.

    Args:
        scores: by dataset, one value a seed.
        over: by dataset, the values of a control whose mean there divides those of ``scores``.
            Where both have as many, the same places are drawn: let these be the same seeds.

    Raises:
        ValueError: no dataset, one without values or without a control, a value that is not
            finite, or a control whose mean is not positive.
    """
    strata = _strata(scores)
    controls = None if over is None else _strata({name: over.get(name, ()) for name in scores})
    if controls is not None and min(each.mean() for each in controls) <= 0:
        raise ValueError("A control must have a positive mean.")
    known = strata
    if controls is not None:
        known = [mine / theirs.mean() for mine, theirs in zip(strata, controls, strict=True)]
    weights = np.concatenate([np.full(len(each), 1 / len(each)) for each in strata])
    value = float(_middle(np.concatenate(known)[None], weights)[0])
    seeds = min(map(len, strata + (controls or [])))
    low = high = None
    if seeds > 1:
        rng = np.random.default_rng(0)
        if controls is None:
            drawn = [_resampled(each, rng) for each in strata]
        else:
            drawn = [_ratios(*pair, rng) for pair in zip(strata, controls, strict=True)]
        df = sum(len(each) - 1 for each in strata)
        tail = float(stats.norm.cdf(stats.t.ppf(0.025, df)))
        low, high = _ends(_middle(np.concatenate(drawn, axis=1), weights), tail)
    holds = seeds >= 20 or (seeds >= 5 and len(strata) >= 5)
    return Aggregate(value, low, high, len(strata), seeds, holds)


def probability_of_improvement(a: DatasetValues, b: DatasetValues) -> Aggregate:
    """How probably a run of ``a`` has a lower value than one of ``b``, mean over the datasets.

    Equal values count half: Mann & Whitney's U (1947), divided by the number of pairs. Ranks
    within a dataset alone matter, so errors can be given as they are.

    The interval holds from 5 seeds a dataset on with 3 datasets or more, from 10 on otherwise,
    as long as neither always wins: there it shrinks to a point.

    Args:
        a: by dataset, one value a seed, such as errors.
        b: likewise; of datasets that not both have nothing is used.

    Raises:
        ValueError: no common dataset, one without values, or a value that is not finite.
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


def _strata(scores: DatasetValues) -> list[Values]:
    strata = [np.asarray(each, dtype=np.float64) for each in scores.values()]
    if not strata or not all(len(each) for each in strata):
        raise ValueError("Every dataset must have a value, and there must be one.")
    if not all(np.isfinite(each).all() for each in strata):
        raise ValueError("An aggregate needs finite values.")
    return strata


def _resampled(values: Values, rng: np.random.Generator) -> Values:
    """(draws, n): seeds drawn with replacement, spread as the seeds themselves are."""
    return _spread(values, rng.integers(len(values), size=(DRAWS, len(values))))


def _ratios(values: Values, control: Values, rng: np.random.Generator) -> Values:
    """(draws, n): drawn values over the mean of the control's drawn ones."""
    places = rng.integers(len(values), size=(DRAWS, len(values)))
    theirs = places
    if len(control) != len(values):
        theirs = rng.integers(len(control), size=(DRAWS, len(control)))
    below = _spread(control, theirs).mean(axis=1, keepdims=True)
    return np.asarray(_spread(values, places) / below)


def _spread(values: Values, places: npt.NDArray[np.int64]) -> Values:
    """The values at these places, moved away from the mean so that they spread as seeds do."""
    n = len(values)
    return np.asarray(values.mean() + math.sqrt(n / (n - 1)) * (values[places] - values.mean()))


def _middle(values: Values, weights: Values) -> Values:
    """Mean of the middle half of the weight, of each row: (rows, values) to (rows,)."""
    order = np.argsort(values, axis=1)
    above = np.cumsum(weights[order], axis=1) / weights.sum()
    below = np.concatenate([np.zeros((len(values), 1)), above[:, :-1]], axis=1)
    kept = np.clip(np.minimum(above, 0.75) - np.maximum(below, 0.25), 0, None)
    return np.asarray((np.take_along_axis(values, order, axis=1) * kept).sum(axis=1) * 2)


def _lower(x: Values, y: Values) -> Values:
    """Share of pairs in which x is below y, ties half: (rows, n), (rows, m) to (rows,)."""
    differences = x[:, :, None] - y[:, None, :]
    return np.asarray(((differences < 0) + 0.5 * (differences == 0)).mean(axis=(1, 2)))


def _ends(drawn: Values, tail: float) -> tuple[float, float]:
    low, high = np.percentile(drawn, [100 * tail, 100 * (1 - tail)])
    return float(low), float(high)
