"""The figures and the answer of a study, from the functions that entries of plugins name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from lbench.containment import contained
from lbench.errors import PluginError
from lbench.registry import registry
from lbench.report.answers.answer import UNDECIDED, Answer, joined
from lbench.report.figures.figure import Figure
from lbench.report.worth import sentences
from lbench.studies.results import StudyData
from lbench.studies.search_summary import counted, edges

FILE = re.compile(r"[\w.-]+")
"""Names that the files of a figure may have."""
FIRST = 10
"""Reasons in the answer where nothing has finished; the report has all."""


def entry_function(kind: Literal["figures", "analyses"], name: str) -> Callable[..., Any]:
    """Return the function of a figure, by its name without the argument, or of an analysis.

    Raises:
        UsageError: no plugin has such an entry, or the probe that it reads; names the nearest.
        PluginError: it cannot be loaded.
    """
    if probe := registry().find(kind, name).probe:
        registry().find("probes", probe)
    function: Callable[..., Any] = registry().load(kind, name)
    return function


def draw(results: StudyData, wanted: str) -> list[Figure]:
    """Draw a figure by its name, ``lines:leadership``; none where there is nothing to show.

    Call within :func:`lbench.report.figures.figure.style`.

    Raises:
        UsageError: there is no such figure, or its argument does not fit.
        PluginError: it cannot be loaded, or what it returns is no list of figures.
    """
    name, _, argument = wanted.partition(":")
    function = entry_function("figures", name)
    with contained():
        drawn = function(results, argument)
    returned = f"Figure {name!r} of plugin {registry().owner('figures', name)!r} returned"
    if not isinstance(drawn, list) or not all(isinstance(figure, Figure) for figure in drawn):
        raise PluginError(f"{returned} {drawn!r}, not a list of Figure.")
    if wrong := [figure.name for figure in drawn if not FILE.fullmatch(figure.name)]:
        raise PluginError(f"{returned} one with the name {wrong[0]!r}, which no file can have.")
    return drawn


def answer(results: StudyData) -> Answer:
    """Return the answer to a study's question, with the limits of its searches.

    Raises:
        UsageError: there is no such analysis.
        PluginError: it cannot be loaded, or it returned no answer.
    """
    name = results.study.analysis
    function = entry_function("analyses", name)
    runs = [run for final in results.finals for run in final.runs]
    complete = any(search.best is not None for search in results.searches)
    if not complete and not any(run.status == "finished" for run in runs):
        return _nothing(results)
    with contained():
        found = function(results)
    if not isinstance(found, Answer):
        owner = registry().owner("analyses", name)
        raise PluginError(
            f"Analysis {name!r} of plugin {owner!r} returned {found!r}, not an Answer."
        )
    worth = sentences(results)
    if len(results.searches) == 1:
        found = replace(found, sentence=" ".join([found.sentence, *worth]))
        worth = []
    return replace(found, details=[*found.details, *worth, *edges(results.searches)])


def _nothing(results: StudyData) -> Answer:
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
