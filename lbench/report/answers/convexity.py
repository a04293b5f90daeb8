"""Whether the leaders of a block come to predict the same, and as a linear classifier does."""

from __future__ import annotations

from typing import Any

import numpy as np

from lbench.report.answers.answer import UNDECIDED, Answer, capital
from lbench.report.answers.best import error_of
from lbench.report.answers.watched import shown
from lbench.report.contrasts import Contrast, adjusted, of_values
from lbench.report.figures.agreeing import blocks, by_epoch
from lbench.report.measured import Measured, measured
from lbench.report.table import percent
from lbench.statistics.intervals import Summary, interval
from lbench.study.results import Results

ALIKE = 0.1
"""Total variation up to which predictions count as the same."""


def convexity(results: Results) -> Answer:
    """Of each cell and block how far leaders are apart at the end, and from a regression."""
    found = measured(results, "agreement")
    if not found:
        return Answer(f"{UNDECIDED}: no run has recorded what its leaders predict.")
    sentences: list[str] = []
    details: list[str] = []
    data: list[dict[str, Any]] = []
    places = [(each, block) for each in found for block in blocks(each)]
    beside = adjusted([_against(*place, results.study.margin) for place in places])
    for (each, block), against in zip(places, beside, strict=True):
        words, more, entry = _block(each, block, against)
        # The first block alone sees the input, as the regression does.
        (sentences if block == 0 else details).append(words)
        details += more
        data.append(entry)
    text = ". ".join(map(capital, sentences)) + f". (Alike: a total variation up to {ALIKE:g}.)"
    return Answer(text, [capital(f"{each}.") for each in details], {"blocks": data})


def _against(each: Measured, block: int, margin: float | None) -> Contrast:
    """What leaders err by themselves, against the regression."""
    error, linear = (_last(each, block, name) for name in ("error", "regression_error"))
    return of_values(error, linear, "a leader by itself", "the regression", margin)


def _block(each: Measured, block: int, against: Contrast) -> tuple[str, list[str], dict[str, Any]]:
    apart = _last(each, block, "tv_mean")
    cosine = _last(each, block, "cosine")
    error = _last(each, block, "error")
    where = f"block {block + 1} of {each.line.title} on {each.group.where}"
    if not apart:
        words = f"whether leaders agree in {where} is undecided: it has one leader"
        return words, [], {"cell": each.line.row.cell.cell_id, "block": block}
    distance = interval(list(apart.values()))
    words = f"{_verdict(distance)} in {where}: total variation between two {shown(distance, 3)}, "
    words += f"cosine {shown(interval(list(cosine.values())), 3)} ({distance.n} seeds)"
    details: list[str] = []
    beside = _last(each, block, "regression_tv")
    linear = _last(each, block, "regression_error")
    if beside and linear:
        theirs = interval(list(linear.values())).mean
        words += "; from a logistic regression of the input it is "
        words += f"{shown(interval(list(beside.values())), 3)}"
        details.append(f"{where}: {against.words}")
        details.append(
            f"{each.line.title} on {each.group.where}: the network has a test error of "
            f"{error_of(each.line)}, the regression one of {percent(theirs)} % on held-out examples"
        )
    data = {
        "cell": each.line.row.cell.cell_id,
        "block": block,
        "total_variation": apart,
        "cosine": cosine,
        "leader_error": error,
        "regression_variation": beside,
        "regression_error": linear,
    }
    return words, details, data


def _verdict(distance: Summary) -> str:
    low = distance.mean if distance.low is None else distance.low
    high = distance.mean if distance.high is None else distance.high
    if high <= ALIKE:
        return "all leaders are alike"
    return "leaders differ" if low > ALIKE else "whether leaders are alike is open"


def _last(each: Measured, block: int, measure: str) -> dict[int, float]:
    """Of the last epoch, by seed; seeds without a value are left out."""
    found = {}
    for seed, columns in each.tables.items():
        if curve := by_epoch(columns, block, measure):
            value = curve[max(curve)]
            if np.isfinite(value):
                found[seed] = value
    return found
