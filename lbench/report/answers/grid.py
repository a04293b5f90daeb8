"""Whether a setting matters, where it is best, and whether the curve has the paper's shape."""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence
from typing import Any

from lbench.report.answers.answer import UNDECIDED, Answer, capital, joined
from lbench.report.answers.series import Series, axes, series, span
from lbench.report.compare import mean
from lbench.report.contrasts import contrast
from lbench.report.lines import Group, Line, error_of
from lbench.report.published import published
from lbench.report.table import percent, text
from lbench.report.verdict import Verdict, verdict
from lbench.statistics.ranks import rank_correlation
from lbench.studies.results import Results

FEW = 4
"""Curves up to which the answer has a sentence each."""
COMMON = 4
"""Common values from which on an order can be compared: with four p may be 2/24."""


def grid(results: Results) -> Answer:
    """Of each arm the values of the first axis that cannot be told apart from the best."""
    names = axes(results)
    found = series(results, names[0]) if names else []
    if not found:
        return Answer(f"{UNDECIDED}: no two values of an axis have a finished run.")
    told = [along(each, results.study.margin) for each in found]
    few = len(told) <= FEW
    said = ". ".join(words for words, _, _ in told) if few else _summary(found, told)
    details = [] if few else [f"{words}." for words, _, _ in told]
    details += [detail for _, more, _ in told for detail in more]
    return Answer(f"{said}.", details, {"series": [data for _, _, data in told]})


def _summary(found: Sequence[Series], told: Sequence[tuple[str, Any, dict[str, Any]]]) -> str:
    data = [entry for _, _, entry in told]
    matters = sum(len(entry["best_set"]) < len(entry["values"]) for entry in data)
    equal = sum(bool(entry["equal"]) for entry in data)
    words = f"of {len(data)} curves over {found[0].axis}, {matters} have a value that is told "
    words += f"apart from their best, {equal} are equal everywhere within the margin"
    words += f", and {len(data) - matters - equal} are undecided"
    places = collections.Counter(entry["best"] for entry in data)
    lowest = joined([f"{value} in {n}" for value, n in places.most_common()])
    return capital(f"{words}; the lowest error is at {lowest}")


def judged(each: Series) -> Verdict:
    """Return the verdict on a series, whatever the task of its cells."""
    first = each.lines[0].final.point
    return verdict(Group(first.dataset, first.network, {}, "", each.where, each.lines))


def along(each: Series, margin: float | None) -> tuple[str, list[str], dict[str, Any]]:
    """A curve in words, what papers have of it, and its numbers."""
    best = judged(each)
    lowest = best.best[0]
    inside = [v for v, line in zip(each.values, each.lines, strict=True) if line in best.best]
    worst = max(each.lines, key=lambda line: mean(line.row.test) or 0.0)
    place = f"{each.title}: the lowest test error is {error_of(lowest)} at {each.axis} "
    place += each.at(lowest)
    equal = len(inside) == len(each.lines) and _equal(each, lowest, margin)
    if len(inside) == len(each.lines):
        words = f"{place}, and no value of {each.axis} can be told apart from it ("
        words += f"all within {margin:g} points)" if equal else "whether it matters is undecided)"
    else:
        words = f"{place}; not told apart from it: {span(inside, each.values)}; "
        words += f"highest: {percent(mean(worst.row.test))} % at {each.at(worst)}"
    details, paper = _paper(each)
    data = {
        "axis": each.axis,
        "series": each.name,
        "where": each.where,
        "values": [text(value) for value in each.values],
        "test_error": [mean(line.row.test) for line in each.lines],
        "best": each.at(lowest),
        "best_set": [text(value) for value in inside],
        "equal": equal,
        "method": best.method,
        "paper": paper,
    }
    return words, details, data


def _equal(each: Series, lowest: Line, margin: float | None) -> bool:
    others = [line for line in each.lines if line is not lowest]
    return bool(margin) and all(contrast(line, lowest, margin).equal for line in others)


def _paper(each: Series) -> tuple[list[str], list[dict[str, Any]]]:
    """The paper's curves along the same axis, each with how ours is ordered by it."""
    cell = each.lines[0].row.cell
    curves: dict[str, dict[float, float]] = {}
    for row in published(cell.rule, cell.dataset):
        if match := re.fullmatch(rf"{re.escape(each.axis)}=([\d.]+)", row.setting):
            curves.setdefault(f"{row.network}; {row.source}", {})[float(match[1])] = row.test_error
    ours = _numbers(each)
    details, data = [], []
    for source, theirs in curves.items():
        common = sorted(value for value in theirs if value in ours)
        if len(theirs) < 3:
            continue
        best = min(theirs, key=lambda value: theirs[value])
        told = f"Published for {cell.rule} ({source}): lowest {percent(theirs[best])} % at "
        told += f"{each.axis} {best:g}, highest {percent(max(theirs.values()))} %"
        rank = None
        if len(common) >= COMMON:
            rank = rank_correlation([ours[v] for v in common], [theirs[v] for v in common])
        if rank is not None:
            told += f"; over {len(common)} common values the rank correlation of {each.name} with "
            told += f"it is {rank[0]:+.2f} (p = {rank[1]:.2g})"
        details.append(told + ".")
        data.append(
            {
                "source": source,
                "best": best,
                "rank_correlation": rank and rank[0],
                "p": rank and rank[1],
                "values": len(common),
            }
        )
    return details, data


def _numbers(each: Series) -> dict[float, float]:
    return {
        float(value): mean(line.row.test) or 0.0
        for value, line in zip(each.values, each.lines, strict=True)
        if isinstance(value, (int, float))
    }
