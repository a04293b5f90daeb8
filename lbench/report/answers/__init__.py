"""A study's answer, worked out from its results: by name, as a study's ``analysis`` says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from lbench.errors import unknown
from lbench.report.answers.aligned import alignment
from lbench.report.answers.answer import UNDECIDED, Answer, joined
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
from lbench.report.searches import counted, edges
from lbench.report.worth import told
from lbench.study.results import Results

__all__ = ["ANSWERS", "Answer", "analysis", "answer"]

FIRST = 10
"""Reasons in the answer where nothing has finished; the report has all."""

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
    worked_out = analysis(results.study.analysis)
    runs = [run for final in results.finals for run in final.runs]
    known = any(search.best is not None for search in results.searches)
    if not known and not any(run.status == "finished" for run in runs):
        return _nothing(results)
    found = worked_out(results)
    worth = told(results)
    if len(results.searches) == 1:
        found = replace(found, sentence=" ".join([found.sentence, *worth]))
        worth = []
    return replace(found, details=[*found.details, *worth, *edges(results.searches)])


def _nothing(results: Results) -> Answer:
    """Return the answer where no run has finished: what became of all, with the first reasons."""
    runs = [(final.point.key, run) for final in results.finals for run in final.runs]
    ended = Counter(run.status for _, run in runs)
    parts = [f"{number} {status}" for status, number in ended.items()]
    details = [f"{key}, seed {run.seed}: {run.reason}" for key, run in runs if run.reason]
    for search in results.searches:
        if search.best is None and search.trials:
            parts.append(f"no trial of {search.point.key} is complete ({counted(search)})")
            reasons = dict.fromkeys(trial.reason for trial in search.trials if trial.reason)
            details += [f"{search.point.key}: {reason}" for reason in reasons]
    parts += [f"{key} cannot be trained" for key in results.untrainable]
    details += [f"{key}: {reason}" for key, reason in results.untrainable.items()]
    sentence = "; ".join([f"{UNDECIDED}: no run has finished", *([joined(parts)] if parts else [])])
    return Answer(f"{sentence}.", details[:FIRST])
