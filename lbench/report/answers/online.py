"""The answer to where the first axis is best, and whether the error falls along the second."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lbench.output.table import text
from lbench.report.answers.answer import NO_AXIS, Answer
from lbench.report.answers.grid import curve, lowest_at
from lbench.report.answers.series import Series, along, ascending
from lbench.report.differences import Difference, adjusted
from lbench.report.lines import error_of
from lbench.report.verdict import difference
from lbench.studies.results import StudyResults


def online(results: StudyResults) -> Answer:
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
