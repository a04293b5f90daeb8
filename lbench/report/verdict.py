"""Which lines of a group are the statistically best, and how each differs from the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lbench.report.lines import Group, Line
from lbench.statistics.best import WELCH, best_set
from lbench.statistics.intervals import Summary
from lbench.statistics.multiple import holm
from lbench.statistics.paired import pairs


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
        best: the lines that cannot be told apart from the lowest error, that one first.
        method: how they were told apart.
    """

    reference: Line | None
    against: Sequence[Against | None]
    best: Sequence[Line]
    method: str


def verdict(group: Group) -> Verdict:
    """Which are best, and how all differ from the first."""
    known = group.known
    if not known:
        return Verdict(None, [None] * len(group.lines), [], "")
    found = best_set([line.row.errors for line in known])
    best = [known[at] for at in found.members if at != found.lowest]
    tests = [told.method for told in found.told if told is not None]
    method = "paired t tests against the lowest mean over common seeds"
    if WELCH in tests:
        method += " (Welch's where cells have other seeds)"
    method += ", Holm-adjusted, 5 %"
    if any("one seed" in test for test in tests):
        method += "; cells with one seed are not tested and stay in it"
    return Verdict(known[0], _against(group.lines, known[0]), [known[found.lowest], *best], method)


def _against(lines: Sequence[Line], reference: Line) -> list[Against | None]:
    found = [
        None if line is reference else pairs(line.row.errors, reference.row.errors)
        for line in lines
    ]
    adjusted = holm([None if each is None else each.p for each in found])
    return [
        None if each is None else Against(each.difference, p)
        for each, p in zip(found, adjusted, strict=True)
    ]
