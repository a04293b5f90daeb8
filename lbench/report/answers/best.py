"""Which cell of each dataset and network has the lowest error, and what is not told apart."""

from __future__ import annotations

from typing import Any

from lbench.report.answers.answer import UNDECIDED, Answer, capital, joined
from lbench.report.lines import Group, error_of, groups
from lbench.report.verdict import SET, Verdict, verdict
from lbench.studies.results import Results


def best(results: Results) -> Answer:
    """The lowest test error of each group, and what cannot be told apart from it."""
    found = [(group, verdict(group)) for group in groups(results)]
    decided = [(group, verdict) for group, verdict in found if verdict.best]
    if not decided:
        return Answer(f"{UNDECIDED}: no cell has a finished run.")
    sentences = [_sentence(group, verdict) for group, verdict in decided]
    shown, more = sentences[:4], sentences[4:]
    sentence = capital("; ".join(shown)) + "."
    if more:
        sentence += f" {len(more)} more comparisons below."
    details = [f"{capital(text)}." for text in more]
    details += [_size(group, verdict) for group, verdict in decided if len(group.lines) > 1]
    return Answer(sentence, details, {"groups": [_data(g, v) for g, v in decided]})


def _sentence(group: Group, verdict: Verdict) -> str:
    first, *others = verdict.best
    text = f"on {group.title} the lowest test error is that of {first.title} ({error_of(first)})"
    if others:
        text += f"; not told apart from it: {joined([line.title for line in others])}"
    elif len(group.known) > 1:
        text += ", lower than each other cell's"
    return text


def _size(group: Group, verdict: Verdict) -> str:
    """Return how many cells are in the best set, and which tests decided that."""
    known = len(group.known)
    if known == 1:
        return f"{group.title}: nothing was compared, because one cell alone has finished runs."
    cells = "cells" if known == len(group.lines) else "cells that have finished runs"
    return f"{group.title}: {SET} are {len(verdict.best)} of {known} {cells} ({verdict.method})."


def _data(group: Group, verdict: Verdict) -> dict[str, Any]:
    return {
        "dataset": group.dataset,
        "network": group.network,
        "task": {name: str(value) for name, value in group.task.items()},
        "best": [line.row.cell.cell_id for line in verdict.best],
        "test_error": [line.row.test and line.row.test.as_dict() for line in verdict.best],
        "method": verdict.method,
    }
