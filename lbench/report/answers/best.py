"""The lowest error of each dataset and network with its best set, or of each value of an axis."""

from __future__ import annotations

from typing import Any

from lbench.output.table import text
from lbench.report.answers.answer import SHOWN, UNDECIDED, Answer, capital, joined, sentences
from lbench.report.answers.series import axes, span
from lbench.report.lines import Group, Line, error_of, groups
from lbench.report.verdict import SET, Verdict, verdict, verdicts
from lbench.studies.results import StudyData


def best(results: StudyData) -> Answer:
    """State the lowest test error of each group, and what is indistinguishable from it."""
    decided = [pair for pair in verdicts(results) if pair[1].best]
    if not decided:
        return Answer(f"{UNDECIDED}: no configuration has a finished run.")
    texts = [_sentence(*pair) for pair in decided]
    sentence = capital("; ".join(texts[:SHOWN])) + "."
    if more := len(texts[SHOWN:]):
        sentence += f" {more} more comparisons below."
    sizes = [_size(*pair) for pair in decided if len(pair[0].lines) > 1]
    data = {"groups": [_data(*pair) for pair in decided]}
    return Answer(sentence, [*sentences(texts[SHOWN:]), *sizes], data)


def lowest(best: list[Line]) -> str:
    """Return the line of lowest error with its error, and those indistinguishable from it."""
    first, *others = best
    text = f"{first.title} ({error_of(first)})"
    if others:
        text += f"; indistinguishable from it: {joined([line.title for line in others])}"
    return text


def _sentence(group: Group, decided: Verdict) -> str:
    text = f"on {group.title} the lowest test error is that of {lowest(list(decided.best))}"
    if len(decided.best) == 1 and len(group.known) > 1:
        text += ", lower than that of each other configuration"
    return text


def _size(group: Group, decided: Verdict) -> str:
    """Return how many configurations are in the best set, and which tests decided that."""
    known = len(group.known)
    if known == 1:
        return f"{group.title}: nothing was compared: only one configuration has finished runs."
    listed = "configurations" + (" with finished runs" if known < len(group.lines) else "")
    return f"{group.title}: {SET} are {len(decided.best)} of {known} {listed} ({decided.method})."


def _data(group: Group, decided: Verdict) -> dict[str, Any]:
    return {
        "dataset": group.dataset,
        "network": group.network,
        "task": {name: str(value) for name, value in group.task.items()},
        "best": [line.row.cell.cell_id for line in decided.best],
        "test_error": [line.row.test and line.row.test.as_dict() for line in decided.best],
        "method": decided.method,
    }


Winners = list[tuple[Any, list[Line]]]
"""By value of an axis the lines of its best set, the lowest first."""


def samples(results: StudyData) -> Answer:
    """State which rules have the lowest error, or are indistinguishable, along each axis."""
    texts, details = [], []
    data: list[dict[str, Any]] = []
    for axis in axes(results):
        for where, best in _winners(results, axis).items():
            texts.append(f"on {where} along {axis}, {_along(best)}")
            rules = {}
            for value, lines in best:
                errors = "; ".join(f"{line.name} {error_of(line)}" for line in lines)
                details.append(f"{where}, {axis}={text(value)}: {errors}.")
                rules[text(value)] = [line.name for line in lines]
            data.append({"axis": axis, "where": where, "best": rules})
    if not texts:
        return Answer(f"{UNDECIDED}: at no value of an axis two configurations have finished runs.")
    return Answer(" ".join(sentences(texts)), details, {"axes": data})


def _winners(results: StudyData, axis: str) -> dict[str, Winners]:
    """Return the best sets by setup."""
    # By the value in words, because it may be a list such as widths.
    lines_at: dict[tuple[str, str], list[Line]] = {}
    for group in groups(results):
        for line in group.known:
            if axis in line.final.point.values:
                value = text(line.final.point.values[axis])
                lines_at.setdefault((group.where, value), []).append(line)
    found: dict[str, Winners] = {}
    for (where, _), lines in lines_at.items():
        if len({line.name for line in lines}) > 1:
            value = lines[0].final.point.values[axis]
            found.setdefault(where, []).append((value, list(verdict(lines).best)))
    return found


def _along(best: Winners) -> str:
    by_set: dict[str, list[Any]] = {}
    for value, lines in best:
        words = joined(sorted(dict.fromkeys(line.name for line in lines)))
        by_set.setdefault(words, []).append(value)
    tried = [value for value, _ in best]
    if len(by_set) == 1:
        return f"{SET}: {next(iter(by_set))} everywhere ({span(tried, tried)})"
    parts = [f"{words} at {span(values, tried)}" for words, values in by_set.items()]
    return f"{SET} changes: " + "; ".join(parts)
