"""The lowest error, with all that is not told apart from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lbench.statistics.examples import Right
from lbench.statistics.intervals import EQUAL, check_error, check_finite, differences, resolution
from lbench.statistics.multiple import LEVEL, holm
from lbench.statistics.paired_tests import t_test
from lbench.statistics.signs import two_sided

PAIRED, WELCH, MCNEMAR, PROPORTIONS = "paired", "welch", "mcnemar", "two proportions"
SOME_SEEDS = "mcnemar of some seeds"
"""McNemar's test where the predictions of some common seeds were lost."""
SEEDS = 3
"""With fewer seeds a t test has one degree of freedom, which hardly ever rejects."""
UNKNOWN = 100
"""Test examples that are assumed where their number is not known: test sets have more."""

Predictions = Callable[[int, int], Right | None]
"""By index of a group and seed, which test examples are right; None where that was not kept."""


@dataclass(frozen=True, slots=True)
class GroupTest:
    """A group against the one with the lowest mean.

    Args:
        points: how much higher its error is where the two were compared; negative where it is
            lower there.
        p: two-sided.
        adjusted: the same by Holm, over all groups.
        method: which test decided: ``paired`` or ``welch`` over seeds, ``mcnemar`` or ``two
            proportions`` over test examples, ``mcnemar of some seeds`` where not all predictions
            of the common seeds were kept.
    """

    points: float
    p: float
    adjusted: float
    method: str

    @property
    def apart(self) -> bool:
        """Return whether the group's error is significantly higher than the lowest."""
        return self.points > 0 and self.adjusted <= LEVEL


@dataclass(frozen=True, slots=True)
class BestSet:
    """The lowest mean and all that is not told apart from it.

    Args:
        lowest: index of the group with the lowest mean.
        members: indices of all that were not told apart from it, itself among them.
        told: a test a group; None of the lowest, and of a group without a value.
    """

    lowest: int
    members: tuple[int, ...]
    told: tuple[GroupTest | None, ...]


def best_set(
    groups: Sequence[Mapping[int, float]],
    n: int | None = None,
    right: Predictions | None = None,
) -> BestSet:
    """Return the groups whose mean is not told apart from the lowest at 5 %, Holm-adjusted.

    Seeds decide where they can. Three seeds or more that two groups share are paired (Student's
    t); groups of three seeds or more that share fewer are compared by Welch's test (1947,
    Biometrika 34, 28-35). Fewer seeds, and seeds without any spread, cannot decide. There the
    test examples do: McNemar's test where the predictions were kept, otherwise the two errors as
    proportions. That is about the trained networks, and says nothing of other seeds.

    A group that is truly the best is left out of at most 5 % of tables. Over seeds this holds
    from three seeds a group on where errors are about normal. Being in the set is no proof of
    being equal, and not of being good either.

    Args:
        groups: error in percent by seed of each; empty where no run has finished, which is in no
            set.
        n: test examples that each error was counted on; None where unknown, which counts as 100.
        right: predictions on these examples, asked for where they decide; None where none were
            kept.

    Raises:
        ValueError: no group has a value, or one is not finite.
    """
    known = [at for at, group in enumerate(groups) if group]
    if not known:
        raise ValueError("No group has a value.")
    for group in groups:
        check_finite(group.values())
    lowest = min(known, key=lambda at: _mean(groups[at]))
    others = [at for at in known if at != lowest]
    examples = UNKNOWN if n is None else n
    tests = [
        _over_seeds(groups[at], groups[lowest], resolution(n))
        or _over_examples(groups[at], groups[lowest], examples, _kept(groups, at, lowest, right))
        for at in others
    ]
    told: list[GroupTest | None] = [None] * len(groups)
    by_holm = holm([p for _, p, _ in tests])
    for at, (points, p, method), adjusted in zip(others, tests, by_holm, strict=True):
        assert adjusted is not None
        told[at] = GroupTest(points, p, adjusted, method)
    members = [at for at in known if (test := told[at]) is None or not test.apart]
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

    Raises:
        ValueError: an error is not from 0 to 100, or ``n`` is not positive.
    """
    check_error(a, n)
    check_error(b, n)
    pooled = (a + b) / 200
    error = float(np.sqrt(2 * pooled * (1 - pooled) / n))
    return 2 * float(stats.norm.sf(abs(a - b) / 100 / error)) if error else 1.0


def _mean(group: Mapping[int, float]) -> float:
    return float(np.mean(list(group.values())))


def _over_seeds(
    group: Mapping[int, float], lowest: Mapping[int, float], step: float
) -> tuple[float, float, str] | None:
    """Return the difference, its p and the test; None where seeds cannot decide.

    Args:
        step: distance between neighbouring errors that are possible, 0 where it is not known.
    """
    common = differences(group, lowest)
    if len(common) >= SEEDS:
        if t_test(common)[0] is None:
            return None  # all pairs differ by the same
        p, _ = t_test(common, step)
        return None if p is None else (float(np.mean(common)), p, PAIRED)
    a, b = list(group.values()), list(lowest.values())
    if min(len(a), len(b)) < SEEDS or max(np.ptp(a), np.ptp(b)) <= EQUAL:
        return None
    p = float(stats.ttest_ind(a, b, equal_var=False).pvalue)
    return float(np.mean(a) - np.mean(b)), p, WELCH


def _over_examples(
    group: Mapping[int, float],
    lowest: Mapping[int, float],
    n: int,
    kept: Sequence[tuple[Right, Right]],
) -> tuple[float, float, str]:
    """Return the difference, its p and the test; ``kept`` are predictions of both, by seed."""
    if kept:
        mine, theirs = (np.stack(side) for side in zip(*kept, strict=True))
        worse = theirs.sum(axis=0, dtype=np.int64) - mine.sum(axis=0, dtype=np.int64)
        whole = len(kept) >= (len(group.keys() & lowest.keys()) or min(len(group), len(lowest)))
        method = MCNEMAR if whole else SOME_SEEDS
        return 100 * float(worse.mean()) / len(kept), two_sided(worse)[0], method
    a, b = _mean(group), _mean(lowest)
    return a - b, two_proportions(a, b, n), PROPORTIONS


def _kept(
    groups: Sequence[Mapping[int, float]], at: int, lowest: int, right: Predictions | None
) -> list[tuple[Right, Right]]:
    """Return the predictions of both groups, for the seeds of which both were kept."""
    if right is None:
        return []
    common = sorted(groups[at].keys() & groups[lowest].keys())
    # Without a common seed any two networks are paired: they saw the same examples.
    seeds = [(seed, seed) for seed in common] or list(
        zip(sorted(groups[at]), sorted(groups[lowest]), strict=False)
    )
    found = [(right(at, mine), right(lowest, theirs)) for mine, theirs in seeds]
    return [(a, b) for a, b in found if a is not None and b is not None]
