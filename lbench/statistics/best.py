"""The lowest error, and everything that is not significantly higher."""

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
"""McNemar's test where the predictions of some common seeds are missing."""
SEEDS = 3
"""With fewer seeds a t test has one degree of freedom and hardly ever rejects."""
UNKNOWN = 100
"""Number of test examples that is assumed where it is not known: test sets have more."""

Predictions = Callable[[int, int], Right | None]
"""Function from the index of a group and a seed to which test examples are right, or None."""


@dataclass(frozen=True, slots=True)
class GroupTest:
    """A test of a group against the one with the lowest mean.

    Args:
        points: difference of the errors in percentage points, on the seeds or examples of the
            test; negative where the group has the lower error there.
        p: two-sided p-value.
        adjusted: p-value adjusted by Holm over all groups.
        method: the test: ``paired`` or ``welch`` over seeds, ``mcnemar`` or ``two proportions``
            over test examples, ``mcnemar of some seeds`` where the predictions of some common
            seeds are missing.
    """

    points: float
    p: float
    adjusted: float
    method: str

    @property
    def significantly_higher(self) -> bool:
        """Return whether the group's error is significantly higher than the lowest."""
        return self.points > 0 and self.adjusted <= LEVEL


@dataclass(frozen=True, slots=True)
class BestSet:
    """The group with the lowest mean and all groups that are not significantly higher.

    Args:
        lowest: index of the group with the lowest mean.
        members: indices of the groups in the set, including the lowest.
        tests: one test per group; None for the lowest, and for a group without a value.
    """

    lowest: int
    members: tuple[int, ...]
    tests: tuple[GroupTest | None, ...]


def best_set(
    groups: Sequence[Mapping[int, float]],
    n: int | None = None,
    right: Predictions | None = None,
) -> BestSet:
    """Return the groups whose mean is not significantly above the lowest (5 %, Holm-adjusted).

    The test is over seeds where that is possible. Two groups that share three seeds or more are
    compared by the paired t test (Student). Other groups with three seeds or more are compared by
    Welch's test (1947, Biometrika 34, 28-35). With fewer seeds, or without any spread between
    seeds, the test is over test examples: McNemar's test where both groups have predictions,
    otherwise a test of two proportions. Such a test is about the trained networks and says nothing
    about other seeds.

    A group that is truly the best is left out of at most 5 % of tables. Over seeds this holds for
    three seeds per group or more where errors are about normal. A group in the set need not be
    equal to the lowest, nor good.

    Args:
        groups: errors in percent by seed, one mapping per group. A group without a finished run
            has an empty mapping and is not in the set.
        n: number of test examples of each error; None where unknown, which counts as 100.
        right: predictions on these examples, read only where a test needs them; None where there
            are none.

    Raises:
        ValueError: no group has a value, or a value is not finite.
    """
    known = [at for at, group in enumerate(groups) if group]
    if not known:
        raise ValueError("No group has a value.")
    for group in groups:
        check_finite(group.values())
    lowest = min(known, key=lambda at: _mean(groups[at]))
    others = [at for at in known if at != lowest]
    examples = UNKNOWN if n is None else n
    results = [
        _over_seeds(groups[at], groups[lowest], resolution(n))
        or _over_examples(groups[at], groups[lowest], examples, _pairs(groups, at, lowest, right))
        for at in others
    ]
    tests: list[GroupTest | None] = [None] * len(groups)
    by_holm = holm([p for _, p, _ in results])
    for at, (points, p, method), adjusted in zip(others, results, by_holm, strict=True):
        assert adjusted is not None
        tests[at] = GroupTest(points, p, adjusted, method)
    members = [at for at in known if (test := tests[at]) is None or not test.significantly_higher]
    return BestSet(lowest, tuple(members), tuple(tests))


def indistinguishable(
    errors: Sequence[float], correct: Sequence[Right | None], n: int, best: int | None = None
) -> list[int]:
    """Return the trials of a search that do not differ significantly from the best.

    Each trial is compared with the best by McNemar's exact test on validation examples, at 5 %
    with Holm's adjustment. The lowest of many errors is partly luck; the adjusted set, which is
    the larger one, allows for that. A trial without predictions is compared by a test of two
    proportions, as if it had other examples. A trial with a lower error than the best stays in the
    set; this can happen where trials have several seeds and ``errors`` are those of one. All this
    is about the trained networks, not about other seeds. It holds for every n.

    Args:
        errors: validation error in percent of each complete trial.
        correct: which predictions of each trial are right, (validation examples,); None where
            they are missing.
        n: number of validation examples.
        best: index of the trial with which the others are compared; None for the lowest error.

    Returns:
        Indices in ascending order, including the best; empty where there are no trials.

    Raises:
        ValueError: a vector has another length than ``n``, or an error is not finite.
    """
    if not errors:
        return []
    if not all(np.isfinite(error) for error in errors):
        raise ValueError("Trials can only be compared by finite errors.")
    for vector in correct:
        if vector is not None and vector.shape != (n,):
            raise ValueError(f"Predictions must have the shape ({n},), but got {vector.shape}.")
    if best is None:
        best = min(range(len(errors)), key=lambda at: errors[at])
    values: list[float | None] = []
    for at, (error, vector) in enumerate(zip(errors, correct, strict=True)):
        best_vector = correct[best]
        if at == best:
            values.append(None)
        elif vector is None or best_vector is None:
            values.append(two_proportions(error, errors[best], n))
        else:
            values.append(two_sided(best_vector.astype(np.int64) - vector)[0])
    return [
        at
        for at, p in enumerate(holm(values))
        if p is None or p > LEVEL or errors[at] < errors[best]
    ]


def two_proportions(a: float, b: float, n: int) -> float:
    """Return the two-sided p that two errors, each on its own ``n`` examples, are equal.

    It is the score test with the pooled proportion (Pearson 1900), which holds where each side has
    about five wrong examples or more.

    Args:
        a: error in percent.
        b: the other error in percent.
        n: number of examples of each.

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
    """Return the difference, its p and the test; None where a test over seeds is not possible.

    Args:
        group: errors by seed.
        lowest: errors by seed of the group with the lowest mean.
        step: distance between neighbouring possible errors; 0 where it is not known.
    """
    common = differences(group, lowest)
    if len(common) >= SEEDS:
        if t_test(common)[0] is None:
            return None  # all pairs have the same difference
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
    pairs: Sequence[tuple[Right, Right]],
) -> tuple[float, float, str]:
    """Return the difference, its p and the test; ``pairs`` are predictions of both by seed."""
    if pairs:
        own, other = (np.stack(side) for side in zip(*pairs, strict=True))
        worse = other.sum(axis=0, dtype=np.int64) - own.sum(axis=0, dtype=np.int64)
        whole = len(pairs) >= (len(group.keys() & lowest.keys()) or min(len(group), len(lowest)))
        method = MCNEMAR if whole else SOME_SEEDS
        return 100 * float(worse.mean()) / len(pairs), two_sided(worse)[0], method
    a, b = _mean(group), _mean(lowest)
    return a - b, two_proportions(a, b, n), PROPORTIONS


def _pairs(
    groups: Sequence[Mapping[int, float]], at: int, lowest: int, right: Predictions | None
) -> list[tuple[Right, Right]]:
    """Return the predictions of both groups, for seeds that have both."""
    if right is None:
        return []
    common = sorted(groups[at].keys() & groups[lowest].keys())
    # Without a common seed any two networks can be paired: their test examples are the same.
    seeds = [(seed, seed) for seed in common] or list(
        zip(sorted(groups[at]), sorted(groups[lowest]), strict=False)
    )
    pairs = [(right(at, own), right(lowest, other)) for own, other in seeds]
    return [(a, b) for a, b in pairs if a is not None and b is not None]
