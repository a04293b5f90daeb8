"""Which lines of a group are the statistically best, and how each differs from the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lbench.report.lines import Group, Line
from lbench.statistics.intervals import Summary, paired

LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Against:
    """A line minus the reference, paired by seed.

    Args:
        points: the difference of test errors with its interval.
        p: of the paired test, adjusted for all lines of the group (Holm); None with too few
            common seeds for a test.
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
    reference = known[0]
    against = _against(group.lines, reference)
    lowest = min(known, key=lambda line: line.row.test.mean if line.row.test else 0.0)
    others = [line for line in known if line is not lowest]
    told = _against(others, lowest)
    best = [lowest] + [
        line
        for line, found in zip(others, told, strict=True)
        if found is None or found.p is None or found.p > LEVEL
    ]
    method = "paired t test against the lowest mean over common seeds, Holm-adjusted, 5 %"
    return Verdict(reference, against, best, method)


def _against(lines: Sequence[Line], reference: Line) -> list[Against | None]:
    from scipy.stats import ttest_rel

    found: list[tuple[Summary | None, float | None]] = []
    for line in lines:
        mine, theirs = line.row.errors, reference.row.errors
        points = None if line is reference else paired(mine, theirs)
        p = None
        if points is not None and points.n > 1:
            seeds = sorted(mine.keys() & theirs.keys())
            p = 1.0
            if points.sd:
                p = float(ttest_rel([mine[s] for s in seeds], [theirs[s] for s in seeds]).pvalue)
        found.append((points, p))
    adjusted = _holm([p for _, p in found])
    return [
        Against(points, p) if points is not None else None
        for (points, _), p in zip(found, adjusted, strict=True)
    ]


def _holm(values: Sequence[float | None]) -> list[float | None]:
    order = [i for _, i in sorted((p, i) for i, p in enumerate(values) if p is not None)]
    adjusted: list[float | None] = [None] * len(values)
    worst = 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - rank) * (values[index] or 0.0)))
        adjusted[index] = worst
    return adjusted
