"""The rules with the lowest error at each value of each axis."""

from __future__ import annotations

from typing import Any

from lbench.output.table import text
from lbench.report.answers.answer import UNDECIDED, Answer, joined, sentences
from lbench.report.answers.series import axes, span
from lbench.report.lines import Group, Line, error_of, groups
from lbench.report.verdict import SET, verdict
from lbench.studies.results import StudyResults

Winners = list[tuple[Any, list[Line]]]
"""By value of an axis the lines of its best set, the lowest first."""


def samples(results: StudyResults) -> Answer:
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


def _winners(results: StudyResults, axis: str) -> dict[str, Winners]:
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
            first = lines[0].final.point
            best = verdict(Group(first.dataset, first.network, {}, "", where, lines)).best
            found.setdefault(where, []).append((first.values[axis], list(best)))
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
