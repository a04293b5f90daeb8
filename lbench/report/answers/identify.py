"""The best settings on each dataset: a set, which may be the whole range."""

from __future__ import annotations

from typing import Any

from lbench.output.table import percent
from lbench.report.answers.answer import SHOWN, UNDECIDED, Answer, capital, joined, sentences
from lbench.report.lines import called, error_of, groups
from lbench.report.worth import worths
from lbench.studies.results import SearchResult, StudyData
from lbench.studies.search_summary import Range, counted, ranges, settings_of, value

OPTIMISATION = ("lr", "weight_decay", "optimizer", "momentum", "batch", "dropout", "schedule")
"""Settings of the recipe: only the details name them, because the question is about the rule."""
NOTHING = "These are all complete trials: only pruned ones were distinguished from the best."


def identify(results: StudyData) -> Answer:
    """State the best configuration of each search, and the ranges indistinguishable from it."""
    if not results.searches:
        return Answer(f"{UNDECIDED}: this study has no search.")
    points = [search.point for search in results.searches]
    errors = {
        line.final.point.key: error_of(line) for group in groups(results) for line in group.known
    }
    texts, details, data = [], [], []
    worth = worths(results)
    for search in results.searches:
        key = search.point.key
        where = f"on {search.point.dataset} ({search.point.network}), "
        where += called(search.point, points)
        if search.best is None:
            details.append(f"{capital(where)}: no trial is complete; {counted(search)}.")
            continue
        found = ranges(search)
        own = [entry for entry in found if entry.name not in OPTIMISATION] or found
        text = f"{where}: {_words(own)}"
        if key in errors:
            text += f"; trained again with fresh seeds, test error {errors[key]}"
        texts.append(text)
        details.append(_detail(where, search, found))
        data.append(_data(search, found) | {"defaults": worth[key].as_dict()})
    if not texts:
        return Answer(f"{UNDECIDED}: no trial is complete.", details)
    sentence = " ".join(sentences(texts[:SHOWN]))
    return Answer(sentence, [*sentences(texts[SHOWN:]), *details], {"searches": data})


def _words(found: list[Range]) -> str:
    identified = [f"{entry.name} {entry.words}" for entry in found if not entry.whole]
    unknown = [
        f"{entry.name} (all of {entry.words.partition(' (')[0]})" for entry in found if entry.whole
    ]
    parts = [f"best with {joined(identified)}"] if identified else []
    if unknown:
        parts.append(f"undecided in {joined(unknown)}: the whole range is indistinguishable")
    return "; ".join(parts)


def _detail(where: str, search: SearchResult, found: list[Range]) -> str:
    assert search.best is not None
    complete = sum(trial.state == "complete" for trial in search.trials)
    alike = len(search.indistinguishable)
    words = f"{capital(where)}: trial {search.best.number} is best of {complete} complete ones"
    words += f" (validation error {percent(value(search.best))} %"
    words += f" of {search.validation} examples" if search.validation else ""
    words += f"; {settings_of(search.best.params)}); {alike} of them are indistinguishable: "
    words += "; ".join(f"{entry.name} {entry.words}" for entry in found) + "."
    return f"{words} {NOTHING}" if alike == complete > 1 else words


def _data(search: SearchResult, found: list[Range]) -> dict[str, Any]:
    best = search.best
    return {
        "point": search.point.key,
        "best": dict(best.params) if best else None,
        "val_error": value(best) if best else None,
        "indistinguishable": len(search.indistinguishable),
        "ranges": {
            entry.name: {"values": list(entry.values), "whole": entry.whole} for entry in found
        },
    }
