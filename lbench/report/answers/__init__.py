"""The answer to a study's question, computed from its results by the study's ``analysis``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from lbench.containment import contained
from lbench.errors import PluginError
from lbench.registry import registry
from lbench.report.answers.answer import UNDECIDED, Answer, joined
from lbench.report.searches import counted, edges
from lbench.report.worth import sentences
from lbench.studies.results import StudyResults

__all__ = ["Answer", "analysis", "answer"]

FIRST = 10
"""Reasons in the answer where nothing has finished; the report has all."""


def analysis(name: str) -> Callable[[StudyResults], Answer]:
    """Return the function of an analysis by its name.

    Raises:
        UsageError: no plugin has such an analysis, or the probe that it reads; names the nearest.
        PluginError: it cannot be loaded.
    """
    if probe := registry().find("analyses", name).probe:
        registry().find("probes", probe)
    function: Callable[[StudyResults], Answer] = registry().load("analyses", name)
    return function


def answer(results: StudyResults) -> Answer:
    """Return the answer to a study's question, with the limits of its searches.

    Raises:
        UsageError: as in :func:`analysis`.
        PluginError: as in :func:`analysis`, or it returned no answer.
    """
    function = analysis(results.study.analysis)
    runs = [run for final in results.finals for run in final.runs]
    complete = any(search.best is not None for search in results.searches)
    if not complete and not any(run.status == "finished" for run in runs):
        return _nothing(results)
    with contained():
        found = function(results)
    if not isinstance(found, Answer):
        name = results.study.analysis
        raise PluginError(
            f"Analysis {name!r} of plugin {registry().owner('analyses', name)!r} returned "
            f"{found!r}, not an Answer."
        )
    worth = sentences(results)
    if len(results.searches) == 1:
        found = replace(found, sentence=" ".join([found.sentence, *worth]))
        worth = []
    return replace(found, details=[*found.details, *worth, *edges(results.searches)])


def _nothing(results: StudyResults) -> Answer:
    """Return the answer where no run has finished: the states of all, with the first reasons."""
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
