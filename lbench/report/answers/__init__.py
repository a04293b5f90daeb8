"""A study's answer, worked out from its results: by name, as a study's ``analysis`` says it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from lbench.errors import unknown
from lbench.report.answers.aligned import alignment
from lbench.report.answers.answer import Answer
from lbench.report.answers.best import best
from lbench.report.answers.continual import forgetting
from lbench.report.answers.contrasted import ablation, followers
from lbench.report.answers.convexity import convexity
from lbench.report.answers.factor import factor
from lbench.report.answers.grid import grid
from lbench.report.answers.identify import identify
from lbench.report.answers.online import online
from lbench.report.answers.rules import screen, table1
from lbench.report.answers.tasks import depth, samples
from lbench.report.answers.watched import activity, leaders
from lbench.report.searches import edges
from lbench.study.results import Results

__all__ = ["ANSWERS", "Answer", "analysis", "answer"]

ANSWERS: Mapping[str, Callable[[Results], Answer]] = {
    "best": best,
    "identify": identify,
    "grid": grid,
    "factor": factor,
    "followers": followers,
    "ablation": ablation,
    "depth": depth,
    "samples": samples,
    "screen": screen,
    "table1": table1,
    "online": online,
    "activity": activity,
    "leaders": leaders,
    "convexity": convexity,
    "alignment": alignment,
    "forgetting": forgetting,
}


def analysis(name: str) -> Callable[[Results], Answer]:
    """What a study's ``analysis`` names.

    Raises:
        UsageError: there is no such analysis; says the nearest.
    """
    if name not in ANSWERS:
        raise unknown("analysis", name, ANSWERS, listing="Known: " + ", ".join(ANSWERS))
    return ANSWERS[name]


def answer(results: Results) -> Answer:
    """The answer to a study's question, with what its searches could not see.

    Raises:
        UsageError: as :func:`analysis`.
    """
    found = analysis(results.study.analysis)(results)
    return replace(found, details=[*found.details, *edges(results.searches)])
