"""The answers to where a setting is best, and whether the error falls along a second one."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lbench.output.table import p_words, percent, text
from lbench.published.numbers import published_curves
from lbench.report.answers.answer import NO_AXIS, Answer, capital, joined
from lbench.report.answers.series import Series, along, ascending, numbers, span, value_at
from lbench.report.compare.row import mean
from lbench.report.differences import Difference, adjusted
from lbench.report.lines import Line, error_of
from lbench.report.verdict import difference, verdict
from lbench.statistics.ranks import rank_correlation
from lbench.studies.results import StudyData

FEW = 4
"""Curves up to which the answer has a sentence each."""
COMMON = 4
"""Common values from which on an order can be compared: with four p may be 2/24."""

Curve = tuple[str, list[str], dict[str, Any]]
"""A curve in words, the published ones along the same axis, and its numbers."""


def grid(results: StudyData) -> Answer:
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


def curve(entry: Series, margin: float | None) -> Curve:
    """Return a curve in words, sentences on published curves, and the curve's numbers."""
    best = verdict(entry.lines)
    lowest = best.best[0]
    inside = [v for v, line in zip(entry.values, entry.lines, strict=True) if line in best.best]
    worst = max(entry.lines, key=lambda line: line.error)
    words = f"{entry.title}: the lowest test error is {error_of(lowest)} at {entry.axis} "
    words += value_at(entry, lowest)
    everywhere = len(inside) == len(entry.lines)
    equal = everywhere and _equal(entry, lowest, margin)
    if everywhere:
        words += f", and all values of {entry.axis} are indistinguishable from it ("
        words += f"all within {margin:g} points)" if equal else "whether it matters is undecided)"
    else:
        words += f"; indistinguishable from it: {span(inside, entry.values)}; "
        words += f"highest: {percent(mean(worst.row.test))} % at {value_at(entry, worst)}"
    details, papers = _papers(entry)
    data = {
        "axis": entry.axis,
        "series": entry.name,
        "where": entry.where,
        "values": [text(value) for value in entry.values],
        "test_error": [mean(line.row.test) for line in entry.lines],
        "best": value_at(entry, lowest),
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
    ours = {
        float(value): line.error
        for value, line in zip(entry.values, entry.lines, strict=True)
        if numbers([value])
    }
    details, data = [], []
    for source, rows in published_curves(cell.rule, cell.dataset, entry.axis).items():
        theirs = {value: row.test_error for value, row in rows.items()}
        common = sorted(value for value in theirs if value in ours)
        best = min(theirs, key=lambda value: theirs[value])
        words = f"Published for {cell.rule} ({source}): lowest {percent(theirs[best])} % at "
        words += f"{entry.axis} {best:g}, highest {percent(max(theirs.values()))} %"
        correlation = p = None
        if len(common) >= COMMON and (
            rank := rank_correlation([ours[v] for v in common], [theirs[v] for v in common])
        ):
            correlation, p = rank
            words += f"; over {len(common)} common values the rank correlation of {entry.name} "
            words += f"with it is {correlation:+.2f} ({p_words(p)})"
        details.append(f"{words}.")
        data.append(
            {"source": source, "best": best, "rank_correlation": correlation, "p": p,
             "values": len(common)}
        )  # fmt: skip
    return details, data


def online(results: StudyData) -> Answer:
    """State where the error is lowest along the first axis, and if it falls along the second."""
    first, across = along(results), along(results, 1)
    if not first:
        return Answer(NO_AXIS)
    curves = [curve(entry, results.study.margin) for entry in first]
    ends = list(zip(across, adjusted([_ends(entry) for entry in across]), strict=True))
    lines = [line for entry in first for line in entry.lines]
    lowest = min(lines, key=lambda line: line.error)
    series = [entry for _, _, entry in curves]
    sentence = f"The lowest test error is {error_of(lowest)}, of {lowest.whole}"
    sentence += f"; over {first[0].axis} it is lowest at {lowest_at(series, f' of {len(curves)}')}"
    if ends:
        falls = sum(entry.verdict == "lower" for _, entry in ends)
        rises = sum(entry.verdict == "higher" for _, entry in ends)
        sentence += f"; from the smallest to the largest {across[0].axis} it falls in {falls} of "
        sentence += f"{len(ends)} series, rises in {rises} and is undecided in "
        sentence += f"{len(ends) - falls - rises}"
    details = [f"{words}." for words, _, _ in curves]
    details += [f"{entry.title}: {found.words}." for entry, found in ends]
    data: dict[str, Any] = {
        "series": series,
        "widths": [{"series": entry.name, **found.as_dict()} for entry, found in ends],
    }
    return Answer(f"{sentence}.", details, data)


def _ends(entry: Series) -> Difference:
    """Return the difference of the largest value of the axis to the smallest."""
    order = ascending(entry)
    high, low = (f"{entry.axis} {text(order.values[at])}" for at in (-1, 0))
    return replace(difference(order.lines[-1], order.lines[0]), name=high, other=low)
