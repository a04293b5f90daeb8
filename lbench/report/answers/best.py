"""The configuration of lowest error of each dataset and network, and its best set."""

from __future__ import annotations

from typing import Any

from lbench.report.answers.answer import SHOWN, UNDECIDED, Answer, capital, joined, sentences
from lbench.report.lines import Group, Line, error_of, groups
from lbench.report.verdict import SET, Verdict, verdict
from lbench.studies.results import StudyResults


def best(results: StudyResults) -> Answer:
    """State the lowest test error of each group, and what is indistinguishable from it."""
    decided = [(group, judged) for group in groups(results) if (judged := verdict(group)).best]
    if not decided:
        return Answer(f"{UNDECIDED}: no configuration has a finished run.")
    texts = [_sentence(group, judged) for group, judged in decided]
    sentence = capital("; ".join(texts[:SHOWN])) + "."
    if more := len(texts[SHOWN:]):
        sentence += f" {more} more comparisons below."
    sizes = [_size(group, judged) for group, judged in decided if len(group.lines) > 1]
    data = {"groups": [_data(group, judged) for group, judged in decided]}
    return Answer(sentence, [*sentences(texts[SHOWN:]), *sizes], data)


def lowest(best: list[Line]) -> str:
    """Return the line of lowest error with its error, and those indistinguishable from it."""
    first, *others = best
    text = f"{first.title} ({error_of(first)})"
    if others:
        text += f"; indistinguishable from it: {joined([line.title for line in others])}"
    return text


def _sentence(group: Group, judged: Verdict) -> str:
    text = f"on {group.title} the lowest test error is that of {lowest(list(judged.best))}"
    if len(judged.best) == 1 and len(group.known) > 1:
        text += ", lower than that of each other configuration"
    return text


def _size(group: Group, judged: Verdict) -> str:
    """Return how many configurations are in the best set, and which tests decided that."""
    known = len(group.known)
    if known == 1:
        return f"{group.title}: nothing was compared: only one configuration has finished runs."
    listed = "configurations" + (" with finished runs" if known < len(group.lines) else "")
    return f"{group.title}: {SET} are {len(judged.best)} of {known} {listed} ({judged.method})."


def _data(group: Group, judged: Verdict) -> dict[str, Any]:
    return {
        "dataset": group.dataset,
        "network": group.network,
        "task": {name: str(value) for name, value in group.task.items()},
        "best": [line.row.cell.cell_id for line in judged.best],
        "test_error": [line.row.test and line.row.test.as_dict() for line in judged.best],
        "method": judged.method,
    }
