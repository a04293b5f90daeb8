"""The statistically best: a set, of all that cannot be told apart from the lowest error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lbench.statistics.examples import Right
from lbench.statistics.multiple import LEVEL, holm
from lbench.statistics.paired import EQUAL, pairs
from lbench.statistics.signs import two_sided

PAIRED, WELCH = "paired", "welch"


@dataclass(frozen=True, slots=True)
class Told:
    """A group against the one with the lowest mean.

    Args:
        p: two-sided; None where there was no test.
        adjusted: the same by Holm, over the groups that were tested.
        method: ``paired`` or ``welch``; without a test the reason why.
    """

    p: float | None
    adjusted: float | None
    method: str


@dataclass(frozen=True, slots=True)
class BestSet:
    """Which groups may be the best.

    Args:
        lowest: index of the group with the lowest mean.
        members: indices of all that were not told apart from it, itself among them.
        told: a test a group; None of the lowest, and of a group without a value.
    """

    lowest: int
    members: tuple[int, ...]
    told: tuple[Told | None, ...]


def best_set(groups: Sequence[Mapping[int, float]]) -> BestSet:
    """The groups whose mean cannot be told apart from the lowest at 5 %, Holm-adjusted.

    Seeds that two groups share are paired (Student's t, two common seeds or more); groups that
    share fewer are held against each other by Welch's test (1947, Biometrika 34, 28-35). A group
    with one seed is not tested and stays in the set: how seeds spread is not known from it, and
    the size of the test set says nothing of that. Such tables are for ``examples``.

    A group that is truly the best is left out of at most 5 % of tables. It holds from two seeds
    a group on where errors are about normal. Being in the set is no proof of being equal.

    Args:
        groups: error by seed of each; empty where no run has finished, which is in no set.

    Raises:
        ValueError: no group has a value.
    """
    known = [at for at, group in enumerate(groups) if group]
    if not known:
        raise ValueError("No group has a value.")
    lowest = min(known, key=lambda at: float(np.mean(list(groups[at].values()))))
    others = [at for at in known if at != lowest]
    tests = [_test(groups[at], groups[lowest]) for at in others]
    adjusted = holm([p for p, _ in tests])
    told: list[Told | None] = [None] * len(groups)
    for at, (p, method), by_holm in zip(others, tests, adjusted, strict=True):
        told[at] = Told(p, by_holm, method)
    members = [at for at in known if _stays(told[at])]
    return BestSet(lowest, tuple(members), tuple(told))


def indistinguishable(
    errors: Sequence[float], correct: Sequence[Right | None], n: int, best: int | None = None
) -> list[int]:
    """Which trials of a search cannot be told apart from the best by their validation examples.

    McNemar's exact test of each trial against the best, Holm-adjusted at 5 %: the lowest of many
    is so by luck too, and the adjusted set, which is the larger one, allows for that. A trial
    whose predictions are lost is tested as if it had seen other examples (two proportions). One
    with a lower error than the best, as may be where trials have several seeds and these are the
    errors of one, stays. All this is of the trained networks; another seed is another network. It
    holds for every n.

    Args:
        errors: validation error in percent, of each trial that is complete.
        correct: its predictions that are right, (validation examples,); None where lost.
        n: validation examples.
        best: index of the trial that the others are held against; None for the lowest error.

    Returns:
        Indices in ascending order, the best among them; empty of no trials.

    Raises:
        ValueError: a vector has another length than ``n``, or an error is not finite.
    """
    if not errors:
        return []
    if not all(np.isfinite(error) for error in errors):
        raise ValueError("Trials are told apart by finite errors.")
    for vector in correct:
        if vector is not None and vector.shape != (n,):
            raise ValueError(f"Predictions for {vector.shape} examples, expected ({n},).")
    if best is None:
        best = min(range(len(errors)), key=lambda at: errors[at])
    values: list[float | None] = []
    for at, (error, vector) in enumerate(zip(errors, correct, strict=True)):
        mine = correct[best]
        if at == best:
            values.append(None)
        elif vector is None or mine is None:
            values.append(two_proportions(error, errors[best], n))
        else:
            values.append(two_sided(mine.astype(np.int64) - vector)[0])
    return [
        at
        for at, p in enumerate(holm(values))
        if p is None or p > LEVEL or errors[at] < errors[best]
    ]


def two_proportions(a: float, b: float, n: int) -> float:
    """Two-sided p that two errors in percent, each of ``n`` examples of its own, are equal.

    The score test with the pooled proportion (Pearson 1900); it holds from about five wrong
    examples on each side.
    """
    pooled = (a + b) / 200
    error = float(np.sqrt(2 * pooled * (1 - pooled) / n))
    return 2 * float(stats.norm.sf(abs(a - b) / 100 / error)) if error else 1.0


def _stays(told: Told | None) -> bool:
    return told is None or told.adjusted is None or told.adjusted > LEVEL


def _test(group: Mapping[int, float], lowest: Mapping[int, float]) -> tuple[float | None, str]:
    """The p and how it was found, or why not."""
    if min(len(group), len(lowest)) < 2:
        return None, "one seed: not tested"
    if len(group.keys() & lowest.keys()) > 1:
        found = pairs(group, lowest)
        assert found is not None
        return found.p, found.reason or PAIRED
    a, b = list(group.values()), list(lowest.values())
    if max(np.ptp(a), np.ptp(b)) <= EQUAL:
        return None, "no spread between seeds"
    return float(stats.ttest_ind(a, b, equal_var=False).pvalue), WELCH
