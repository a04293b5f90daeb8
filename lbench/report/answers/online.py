"""Where along the first axis the error is lowest, and whether it falls along the second."""

from __future__ import annotations

import collections
from dataclasses import replace
from typing import Any

from lbench.report.answers.answer import UNDECIDED, Answer, joined
from lbench.report.answers.grid import along
from lbench.report.answers.series import Series, ascending, axes, series
from lbench.report.compare import mean
from lbench.report.contrasts import Contrast, adjusted, contrast
from lbench.report.lines import error_of
from lbench.report.table import text
from lbench.studies.results import Results


def online(results: Results) -> Answer:
    """Where along the first axis the error is lowest, and whether it falls along the second."""
    names = axes(results)
    first = series(results, names[0]) if names else []
    if not first:
        return Answer(f"{UNDECIDED}: no two values of an axis have a finished run.")
    told = [along(each, results.study.margin) for each in first]
    across = series(results, names[1]) if len(names) > 1 else []
    widths = list(zip(across, adjusted([_ends(each) for each in across]), strict=True))
    lowest = min((line for each in first for line in each.lines),
                 key=lambda line: mean(line.row.test) or 0.0)  # fmt: skip
    sentence = f"The lowest test error is {error_of(lowest)}, of {lowest.whole}"
    places = collections.Counter(entry["best"] for _, _, entry in told)
    sentence += f"; over {names[0]} it is lowest at "
    sentence += joined([f"{value} in {n} of {len(told)}" for value, n in places.most_common()])
    if widths:
        falls = sum(c.verdict == "lower" for _, c in widths)
        rises = sum(c.verdict == "higher" for _, c in widths)
        sentence += f"; from the smallest to the largest {names[1]} it falls in {falls} of "
        sentence += f"{len(widths)} places, rises in {rises} and is undecided in "
        sentence += f"{len(widths) - falls - rises}"
    details = [f"{words}." for words, _, _ in told]
    details += [f"{each.title}: {c.words}." for each, c in widths]
    data: dict[str, Any] = {
        "series": [entry for _, _, entry in told],
        "widths": [{"series": each.name, **c.as_dict()} for each, c in widths],
    }
    return Answer(f"{sentence}.", details, data)


def _ends(each: Series) -> Contrast:
    """The largest value of the axis against the smallest."""
    order = ascending(each)
    found = contrast(order.lines[-1], order.lines[0])
    high, low = (f"{each.axis} {text(order.values[at])}" for at in (-1, 0))
    return replace(found, name=high, other=low)
