"""Figures of a study: by name, as a study's ``figures`` say it, with an argument behind a colon."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lbench.errors import unknown
from lbench.report.figures.agreeing import agreement
from lbench.report.figures.aligned import alignment
from lbench.report.figures.axis import bars, lines
from lbench.report.figures.depth import linear
from lbench.report.figures.figure import Figure
from lbench.report.figures.followed import activity, leaders
from lbench.report.figures.front import pareto
from lbench.report.figures.passing import online
from lbench.report.figures.searching import history, importance, one_setting, tuning
from lbench.report.figures.sequence import tasks
from lbench.report.figures.training import curves
from lbench.study.results import Results

FIGURES: Mapping[str, Callable[[Results, str], list[Figure]]] = {
    "lines": lines,
    "bars": bars,
    "curves": curves,
    "history": history,
    "best_so_far": tuning,
    "importance": importance,
    "slice": one_setting,
    "pareto": pareto,
    "online": online,
    "linear": linear,
    "alignment": alignment,
    "tasks": tasks,
    "leaders": leaders,
    "activity": activity,
    "agreement": agreement,
}


def drawing(name: str) -> Callable[[Results, str], list[Figure]]:
    """What a study's ``figures`` name, without the argument.

    Raises:
        UsageError: there is no such figure; says the nearest.
    """
    if name not in FIGURES:
        raise unknown("figure", name, FIGURES, listing="Known: " + ", ".join(FIGURES))
    return FIGURES[name]


def draw(results: Results, wanted: str) -> list[Figure]:
    """A figure by its name, ``lines:leadership``; none where there is nothing to show.

    Call within :func:`lbench.report.figures.figure.style`.

    Raises:
        UsageError: there is no such figure, or its argument does not fit.
    """
    name, _, argument = wanted.partition(":")
    return drawing(name)(results, argument)
