"""The answer to where a setting is best, and whether the curve has the published shape."""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence
from typing import Any

from lbench.output.table import percent, text
from lbench.report.answers.answer import NO_AXIS, Answer, capital, joined
from lbench.report.answers.series import Series, along, numbers, span
from lbench.report.compare import mean
from lbench.report.lines import Group, Line, error_of
from lbench.report.published import published
from lbench.report.verdict import Verdict, difference, verdict
from lbench.statistics.ranks import rank_correlation
from lbench.studies.results import StudyResults

FEW = 4
"""Curves up to which the answer has a sentence each."""
COMMON = 4
"""Common values from which on an order can be compared: with four p may be 2/24."""

Curve = tuple[str, list[str], dict[str, Any]]
"""A curve in words, the published ones along the same axis, and its numbers."""


def grid(results: StudyResults) -> Answer:
    """State for each arm the best values of the first axis, and what they are compared with."""
    listed = along(results)
    if not listed:
        return Answer(NO_AXIS)
    curves = [curve(entry, results.study.margin) for entry in listed]
    few = len(curves) <= FEW
    data = [entry for _, _, entry in curves]
    sentence = ". ".join(words for words, _, _ in curves) if few else _summary(data)
    details = [] if few else [f"{words}." for words, _, _ in curves]
    details += [detail for _, more, _ in curves for detail in more]
    return Answer(f"{sentence}.", details, {"series": data})


def lowest_at(data: Sequence[dict[str, Any]], ending: str = "") -> str:
    """Return how often each value has the lowest error: ``0.3 in 2 and 0.5 in 1``."""
    counts = collections.Counter(entry["best"] for entry in data)
    return joined([f"{value} in {n}{ending}" for value, n in counts.most_common()])


def judged(entry: Series) -> Verdict:
    """Return the verdict on a series, whatever the task of its configurations."""
    first = entry.lines[0].final.point
    return verdict(Group(first.dataset, first.network, {}, "", entry.where, entry.lines))


def curve(entry: Series, margin: float | None) -> Curve:
    """Return a curve in words, sentences on published curves, and the curve's numbers."""
    best = judged(entry)
    lowest = best.best[0]
    inside = [v for v, line in zip(entry.values, entry.lines, strict=True) if line in best.best]
    worst = max(entry.lines, key=lambda line: line.error)
    words = f"{entry.title}: the lowest test error is {error_of(lowest)} at {entry.axis} "
    words += entry.at(lowest)
    everywhere = len(inside) == len(entry.lines)
    equal = everywhere and _equal(entry, lowest, margin)
    if everywhere:
        words += f", and all values of {entry.axis} are indistinguishable from it ("
        words += f"all within {margin:g} points)" if equal else "whether it matters is undecided)"
    else:
        words += f"; indistinguishable from it: {span(inside, entry.values)}; "
        words += f"highest: {percent(mean(worst.row.test))} % at {entry.at(worst)}"
    details, papers = _papers(entry)
    data = {
        "axis": entry.axis,
        "series": entry.name,
        "where": entry.where,
        "values": [text(value) for value in entry.values],
        "test_error": [mean(line.row.test) for line in entry.lines],
        "best": entry.at(lowest),
        "best_set": [text(value) for value in inside],
        "equal": equal,
        "method": best.method,
        "paper": papers,
    }
    return words, details, data


def _summary(data: Sequence[dict[str, Any]]) -> str:
    matters = sum(len(entry["best_set"]) < len(entry["values"]) for entry in data)
    equal = sum(bool(entry["equal"]) for entry in data)
    words = f"of {len(data)} curves over {data[0]['axis']}, {matters} have a value that is "
    words += f"distinguished from their best, {equal} are equal everywhere within the margin"
    words += f", and {len(data) - matters - equal} are undecided"
    return capital(f"{words}; the lowest error is at {lowest_at(data)}")


def _equal(entry: Series, lowest: Line, margin: float | None) -> bool:
    others = [line for line in entry.lines if line is not lowest]
    return bool(margin) and all(difference(line, lowest, margin).equal for line in others)


def _papers(entry: Series) -> tuple[list[str], list[dict[str, Any]]]:
    """Return published curves along the same axis, each with its rank correlation with ours."""
    cell = entry.lines[0].row.cell
    curves: dict[str, dict[float, float]] = {}
    for row in published(cell.rule, cell.dataset):
        if match := re.fullmatch(rf"{re.escape(entry.axis)}=([\d.]+)", row.setting):
            source = f"{row.network}; {row.source}"
            curves.setdefault(source, {})[float(match[1])] = row.test_error
    ours = {
        float(value): line.error
        for value, line in zip(entry.values, entry.lines, strict=True)
        if numbers([value])
    }
    details, data = [], []
    for source, theirs in curves.items():
        if len(theirs) < 3:
            continue
        common = sorted(value for value in theirs if value in ours)
        best = min(theirs, key=lambda value: theirs[value])
        words = f"Published for {cell.rule} ({source}): lowest {percent(theirs[best])} % at "
        words += f"{entry.axis} {best:g}, highest {percent(max(theirs.values()))} %"
        rank = None
        if len(common) >= COMMON:
            rank = rank_correlation([ours[v] for v in common], [theirs[v] for v in common])
        correlation, p = rank or (None, None)
        if rank is not None:
            words += f"; over {len(common)} common values the rank correlation of {entry.name} "
            words += f"with it is {correlation:+.2f} (p = {p:.2g})"
        details.append(f"{words}.")
        data.append(
            {"source": source, "best": best, "rank_correlation": correlation, "p": p,
             "values": len(common)}
        )  # fmt: skip
    return details, data
