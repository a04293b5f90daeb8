"""Which lines of a group have the lowest error, and how each differs from the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lbench.report.compare.kept import Kept, NotKeptError
from lbench.report.lines import Group, Line
from lbench.statistics.best import (
    MCNEMAR,
    PROPORTIONS,
    SOME_SEEDS,
    WELCH,
    BestSet,
    best_set,
)
from lbench.statistics.examples import Right
from lbench.statistics.intervals import Summary
from lbench.statistics.multiple import holm
from lbench.statistics.paired_tests import paired_tests

SET = "the lowest error and what is not told apart from it"
"""What tables, figures and answers call the best set: not all that is in it is good."""


@dataclass(frozen=True, slots=True)
class Against:
    """A line minus the reference, paired by seed.

    Args:
        points: the difference of test errors with its interval.
        p: of the paired t test, adjusted for all lines of the group (Holm); None where there is
            none, such as with one common seed.
    """

    points: Summary
    p: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the runs of a group decide.

    Args:
        reference: what the others are held against, the first line with a finished seed.
        against: a line each; None for the reference, and where there is nothing to pair.
        best: the lines that are not told apart from the lowest error, that one first.
        method: which tests decided.
    """

    reference: Line | None
    against: Sequence[Against | None]
    best: Sequence[Line]
    method: str


Judged = tuple[Group, Verdict]


def verdict(group: Group) -> Verdict:
    """Return which lines have the lowest error, and how all differ from the first."""
    known = group.known
    if not known:
        return Verdict(None, [None] * len(group.lines), [], "")
    kept = Kept([(line.row.cell, line.final.runs) for line in known])

    def right(at: int, seed: int) -> Right | None:
        try:
            return kept.right(known[at].row.cell, seed)
        except NotKeptError:
            return None

    found = best_set([line.row.errors for line in known], known[0].row.cell.test_examples, right)
    best = [known[at] for at in found.members if at != found.lowest]
    return Verdict(
        known[0], _against(group.lines, known[0]), [known[found.lowest], *best], _method(found)
    )


def _method(found: BestSet) -> str:
    """Return which tests decided, in words; "" where there was nothing to compare."""
    methods = {test.method for test in found.tests if test is not None}
    if not methods:
        return ""
    over_seeds = "paired t tests against the lowest mean over common seeds"
    if WELCH in methods:
        over_seeds += " (Welch's where cells have other seeds)"
    over_examples = [
        words
        for name, words in (
            (MCNEMAR, "McNemar's test on the test examples"),
            (SOME_SEEDS, "McNemar's test for those seeds alone whose predictions were kept"),
            (PROPORTIONS, "two proportions of the test examples, for predictions are lost"),
        )
        if name in methods
    ]
    if not over_examples:
        return f"{over_seeds}, Holm-adjusted, 5 %"
    words = f"{' and '.join(over_examples)}, Holm-adjusted, 5 %"
    which = "seeds are fewer than three or do not spread, so they"
    if methods <= {MCNEMAR, SOME_SEEDS, PROPORTIONS}:
        return f"{words} ({which} cannot decide, and nothing is said of other seeds)"
    return f"{over_seeds}; where {which} cannot decide, {words}"


def _against(lines: Sequence[Line], reference: Line) -> list[Against | None]:
    found = [
        None
        if line is reference
        else paired_tests(line.row.errors, reference.row.errors, line.row.step)
        for line in lines
    ]
    adjusted = holm([None if each is None else each.p for each in found])
    return [
        None if each is None else Against(each.difference, p)
        for each, p in zip(found, adjusted, strict=True)
    ]
