"""Which settings are best on each dataset: a set, that may be the whole range."""

from __future__ import annotations

from typing import Any

from lbench.report.answers.answer import UNDECIDED, Answer, capital, joined
from lbench.report.lines import Line, called, error_of, groups
from lbench.report.searches import Range, counted, ranges, settings_of, value
from lbench.report.table import percent
from lbench.report.worth import worths
from lbench.studies.results import Results, SearchResult

OPTIMISATION = ("lr", "weight_decay", "optimizer", "momentum", "batch", "dropout", "schedule")
"""Settings of the recipe: told in the details, for the question is about the rule's own."""


NOTHING = "These are all complete trials, so nothing was told apart but what was pruned."


def identify(results: Results) -> Answer:
    """Of each search the best configuration, and the ranges that cannot be told apart from it."""
    if not results.searches:
        return Answer(f"{UNDECIDED}: this study has no search.")
    points = [search.point for search in results.searches]
    sentences, details, data = [], [], []
    worth = worths(results)
    for search in results.searches:
        name = called(search.point, points)
        where = f"on {search.point.dataset} ({search.point.network}), {name}"
        if search.best is None:
            details.append(f"{capital(where)}: no trial is complete; {counted(search)}.")
            continue
        found = ranges(search)
        own = [each for each in found if each.name not in OPTIMISATION] or found
        sentences.append(f"{where}: {_words(search, own)}{_final(results, search)}")
        details += _details(where, search, found)
        data.append(_data(search, found) | {"defaults": worth[search.point.key].as_dict()})
    if not sentences:
        return Answer(f"{UNDECIDED}: no trial is complete.", details)
    shown, more = sentences[:4], sentences[4:]
    sentence = capital(". ".join(capital(text) for text in shown)) + "."
    return Answer(sentence, [*(capital(text) + "." for text in more), *details], {"searches": data})


def _words(search: SearchResult, found: list[Range]) -> str:
    identified = [f"{each.name} {each.words}" for each in found if not each.whole]
    unknown = [
        f"{each.name} (all of {each.words.partition(' (')[0]})" for each in found if each.whole
    ]
    parts = []
    if identified:
        parts.append(f"best with {joined(identified)}")
    if unknown:
        parts.append(f"undecided in {joined(unknown)}: the whole range is not told apart")
    return "; ".join(parts)


def _details(where: str, search: SearchResult, found: list[Range]) -> list[str]:
    if search.best is None:
        return []
    complete = sum(trial.state == "complete" for trial in search.trials)
    told = f"{capital(where)}: trial {search.best.number} is best of {complete} complete ones"
    told += f" (validation error {percent(value(search.best))} %"
    told += f" of {search.validation} examples" if search.validation else ""
    told += f"; {settings_of(search.best.params)}); {len(search.indistinguishable)} of them "
    told += (
        "cannot be told apart: " + "; ".join(f"{each.name} {each.words}" for each in found) + "."
    )
    if len(search.indistinguishable) == complete > 1:
        told += f" {NOTHING}"
    return [told]


def _final(results: Results, search: SearchResult) -> str:
    """The best configuration's test error, trained again with fresh seeds."""
    line = _line(results, search)
    return f"; trained again with fresh seeds, test error {error_of(line)}" if line else ""


def _line(results: Results, search: SearchResult) -> Line | None:
    for group in groups(results):
        for line in group.known:
            if line.final.point.key == search.point.key:
                return line
    return None


def _data(search: SearchResult, found: list[Range]) -> dict[str, Any]:
    best = search.best
    return {
        "point": search.point.key,
        "best": dict(best.params) if best else None,
        "val_error": value(best) if best else None,
        "indistinguishable": len(search.indistinguishable),
        "ranges": {each.name: {"values": list(each.values), "whole": each.whole} for each in found},
    }
