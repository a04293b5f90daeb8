"""The answer to whether one setting matters: its effect with everything else the same."""

from __future__ import annotations

from typing import Any

from lbench.registry import registry
from lbench.report.answers.answer import NO_AXIS, Answer, capital, joined, sentences
from lbench.report.answers.series import Series, along, value_at
from lbench.report.differences import Difference
from lbench.report.lines import Line
from lbench.report.verdict import differences
from lbench.studies.results import StudyData

Compared = tuple[Series, Line, list[Difference]]
"""A series, its line at the default, and the differences of the others to it."""


def factor(results: StudyData) -> Answer:
    """Compare every value of the first axis with the rule's default, in each other setting."""
    listed = along(results)
    if not listed:
        return Answer(NO_AXIS)
    compared = [_compared(entry, results.study.margin) for entry in listed]
    texts = [_sentence(*entry) for entry in compared]
    details = sentences([d.words for _, _, found in compared for d in found])
    data = {"series": [_data(*entry) for entry in compared]}
    if len(listed) == 1:
        return Answer(capital(texts[0]) + ".", details, data)
    verdicts = [_verdict(found) for _, _, found in compared]
    said = [
        f"it {verdict} in {n}"
        for verdict in ("matters", "does not matter", "is undecided")
        if (n := verdicts.count(verdict.removeprefix("is ")))
    ]
    sentence = f"{capital(listed[0].axis)}: of {len(listed)} settings {joined(said)}."
    return Answer(sentence, [*sentences(texts), *details], data)


def _compared(entry: Series, margin: float | None) -> Compared:
    base = _base(entry)
    return entry, base, differences(entry.lines, base, margin)


def _base(entry: Series) -> Line:
    """Return the line at the rule's default, or at the first value."""
    rule = entry.lines[0].final.point.rule
    field = registry().load("rules", rule).Config.model_fields.get(entry.axis)
    for value, line in zip(entry.values, entry.lines, strict=True):
        if field is not None and value == field.default:
            return line
    return entry.lines[0]


def _verdict(found: list[Difference]) -> str:
    verdicts = {difference.verdict for difference in found}
    if verdicts & {"lower", "higher"}:
        return "matters"
    return "does not matter" if verdicts == {"equal"} else "undecided"


def _sentence(entry: Series, base: Line, found: list[Difference]) -> str:
    known = [difference for difference in found if difference.points is not None]
    if not known:
        return f"{entry.title}: undecided, no seed is finished in two configurations"
    largest = max(known, key=lambda d: abs(d.points.mean) if d.points else 0.0)
    verdict, margin = _verdict(found), found[0].margin
    words = f"{entry.title}: {entry.axis} {verdict}"
    if verdict == "undecided":
        words = f"{entry.title}: whether {entry.axis} matters is undecided"
    if verdict == "does not matter" and margin:
        words += f" within {margin:g} points"
    line = next(line for line in entry.lines if largest.name in (line.title, line.whole))
    n = largest.points.n if largest.points else 0
    words += f"; the largest effect is {largest.text} points (n = {n}), "
    return f"{words}from {value_at(entry, base)} to {value_at(entry, line)}"


def _data(entry: Series, base: Line, found: list[Difference]) -> dict[str, Any]:
    return {
        "series": entry.name,
        "where": entry.where,
        "axis": entry.axis,
        "base": value_at(entry, base),
        "verdict": _verdict(found),
        "differences": [difference.as_dict() for difference in found],
    }
