"""Which rules have the lowest error at each value of each axis."""

from __future__ import annotations

from typing import Any

from lbench.report.answers.answer import UNDECIDED, Answer, capital, joined
from lbench.report.answers.series import axes, span
from lbench.report.lines import Group, Line, error_of, groups
from lbench.report.table import text
from lbench.report.verdict import SET, verdict
from lbench.studies.results import Results


def samples(results: Results) -> Answer:
    """Say which rules have the lowest error, or are not told apart from it, along each axis."""
    winners = {axis: found for axis in axes(results) if (found := _winners(results, axis))}
    if not winners:
        return Answer(f"{UNDECIDED}: at no value of an axis two cells have finished runs.")
    sentences, details = [], []
    data: list[dict[str, Any]] = []
    for axis, found in winners.items():
        for where, best in found.items():
            sentences.append(f"on {where} along {axis}, {_along(best)}")
            details += [
                f"{where}, {axis}={text(value)}: "
                + "; ".join(f"{line.name} {error_of(line)}" for line in lines)
                + "."
                for value, lines in best
            ]
            data.append(
                {
                    "axis": axis,
                    "where": where,
                    "best": {text(value): [line.name for line in lines] for value, lines in best},
                }
            )
    return Answer(". ".join(map(capital, sentences)) + ".", details, {"axes": data})


def _winners(results: Results, axis: str) -> dict[str, list[tuple[Any, list[Line]]]]:
    """Return, by place and value, which rules have the lowest error or are not told apart."""
    cells: dict[str, dict[str, list[Line]]] = {}
    for group in groups(results):
        for line in group.known:
            if axis in line.final.point.values:
                # In words: a value may be a list, as of widths.
                value = text(line.final.point.values[axis])
                cells.setdefault(group.where, {}).setdefault(value, []).append(line)
    found: dict[str, list[tuple[Any, list[Line]]]] = {}
    for where, by_value in cells.items():
        for lines in by_value.values():
            if len({line.name for line in lines}) > 1:
                first = lines[0].final.point
                group = Group(first.dataset, first.network, {}, "", where, lines)
                best = list(verdict(group).best)
                found.setdefault(where, []).append((first.values[axis], best))
    return found


def _along(best: list[tuple[Any, list[Line]]]) -> str:
    by_set: dict[str, list[Any]] = {}
    for value, lines in best:
        words = joined(sorted(dict.fromkeys(line.name for line in lines)))
        by_set.setdefault(words, []).append(value)
    tried = [value for value, _ in best]
    if len(by_set) == 1:
        return f"{SET}: {next(iter(by_set))} everywhere ({span(tried, tried)})"
    parts = [f"{words} at {span(values, tried)}" for words, values in by_set.items()]
    return f"{SET} changes: " + "; ".join(parts)
