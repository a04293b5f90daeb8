"""The probe ``agreement``: whether the leaders of a block become one classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lbench.reporting import (
    FAINT,
    PANELS,
    UNDECIDED,
    Answer,
    Columns,
    Configuration,
    Difference,
    Figure,
    StudyData,
    Summary,
    adjusted,
    by_task,
    clipped,
    configurations,
    interval,
    legend,
    look,
    paired_difference,
    panels,
    percent,
    spread,
)

ALIKE = 0.1
"""Total variation up to which predictions count as the same."""
LINES = 10
MEASURES = {
    "cosine": "cosine of two leaders",
    "tv_mean": "distance of two leaders",
    "error": "error of one leader (%)",
}


def figures(results: StudyData, _: str = "") -> list[Figure]:
    """Draw how alike leaders predict over training, and how well; a figure a place."""
    found = by_task(configurations(results, "agreement"))
    several = len(found) > 1
    return [
        _figure(place, cells, f"agreement-{number}" if several else "agreement")
        for number, (place, cells) in enumerate(list(found.items())[:PANELS], start=1)
    ]


def convexity(results: StudyData) -> Answer:
    """State of each cell and block how far leaders are apart at the end, and from a regression."""
    found = configurations(results, "agreement")
    if not found:
        return Answer(f"{UNDECIDED}: no run has recorded what its leaders predict.")
    sentences: list[str] = []
    details: list[str] = []
    data: list[dict[str, Any]] = []
    places = [(each, block) for each in found for block in blocks(each)]
    beside = adjusted([_against(*place, results.margin) for place in places])
    for (each, block), against in zip(places, beside, strict=True):
        words, more, entry = _block(each, block, against)
        # The first block alone sees the input, as the regression does.
        (sentences if block == 0 else details).append(words)
        details += more
        data.append(entry)
    text = ". ".join(sentences) + f". (Alike: a total variation up to {ALIKE:g}.)"
    return Answer(text, [f"{each}." for each in details], {"blocks": data})


def by_epoch(columns: Columns, block: int, measure: str) -> dict[int, float]:
    """Return a measure of a block by epoch, mean over classes; ``error`` is that of leaders."""
    found: dict[int, list[float]] = {}
    for at, (epoch, mine) in enumerate(zip(columns["epoch"], columns["block"], strict=True)):
        if mine != block:
            continue
        value = columns[measure][at]
        if measure == "error":
            value = float(np.mean([value[worker] for worker in columns["leaders"][at]]))
        if value is not None:
            found.setdefault(epoch, []).append(value)
    return {epoch: float(np.mean(values)) for epoch, values in sorted(found.items())}


def blocks(each: Configuration) -> list[int]:
    """Return the indices of the blocks in the probe's tables."""
    return sorted(set(next(iter(each.tables.values()))["block"]))


def _figure(place: str, cells: Sequence[Configuration], name: str) -> Figure:
    picture, axes = panels(3, height=3.4)
    data: list[dict[str, Any]] = []
    regression: list[float] = []
    index = 0
    for each in cells:
        for block in blocks(each):
            series = f"{each.title}, block {block + 1}"
            for panel, measure in zip(axes, MEASURES, strict=True):
                rows = _rows(each.tables, block, measure, series)
                data += rows
                if not rows or index >= LINES:
                    continue
                at, style = [row["epoch"] for row in rows], look(index)
                panel.plot(at, [row["value"] for row in rows], label=clipped(series), **style)
                low, high = [row["low"] for row in rows], [row["high"] for row in rows]
                panel.fill_between(at, low, high, color=style["color"], alpha=0.12, linewidth=0)
            index += 1
        for columns in each.tables.values():
            regression += [value for value in columns["regression_error"] if value is not None]
    for panel, title in zip(axes, MEASURES.values(), strict=True):
        panel.set_xlabel("epoch")
        panel.set_ylabel(title)
    caption = (
        "Cosine and total variation of two leaders' predictions, and what a leader errs by itself; "
        "on held-out examples, of those who led in an epoch's last step; mean over seeds, the band "
        "from the lowest to the highest."
    )
    if regression:
        level = float(np.mean(regression))
        axes[2].axhline(level, color=FAINT, linestyle=":", label="logistic regression of the input")
        data.append({"series": "logistic regression", "of": "error", "value": level})
        caption += " Dotted: a logistic regression of the input."
    if index > LINES:
        caption += f" {index - LINES} more series are in the data alone."
    legend(picture, axes)
    return Figure(name, f"Do leaders become one classifier? {place}", caption, picture, data)


def _rows(
    tables: Mapping[int, Columns], block: int, measure: str, series: str
) -> list[dict[str, Any]]:
    curves = [by_epoch(columns, block, measure) for columns in tables.values()]
    rows = []
    for epoch in sorted(set.intersection(*(set(curve) for curve in curves))):
        values = [curve[epoch] for curve in curves]
        rows.append(
            {"series": series, "of": measure, "epoch": epoch, "value": float(np.mean(values)),
             "low": min(values), "high": max(values), "seeds": len(values)}
        )  # fmt: skip
    return rows


def _against(each: Configuration, block: int, margin: float | None) -> Difference:
    """Return the contrast of the error of a leader by itself and that of the regression."""
    error, linear = (_last(each, block, name) for name in ("error", "regression_error"))
    return paired_difference(error, linear, "a leader by itself", "the regression", margin)


def _block(
    each: Configuration, block: int, against: Difference
) -> tuple[str, list[str], dict[str, Any]]:
    apart = _last(each, block, "tv_mean")
    cosine = _last(each, block, "cosine")
    error = _last(each, block, "error")
    number = f"{block + 1} of {each.title} on {each.setup}"
    if not apart:
        words = f"Whether leaders agree in block {number} is undecided: it has one leader"
        return words, [], {"cell": each.id, "block": block}
    distance = interval(list(apart.values()))
    words = f"{_verdict(distance)} in block {number}: total variation between two "
    words += f"{spread(distance, 3)}, cosine {spread(interval(list(cosine.values())), 3)} "
    words += f"({distance.n} seeds)"
    details: list[str] = []
    beside = _last(each, block, "regression_tv")
    linear = _last(each, block, "regression_error")
    if beside and linear:
        theirs = interval(list(linear.values())).mean
        words += "; from a logistic regression of the input it is "
        words += f"{spread(interval(list(beside.values())), 3)}"
        details.append(f"Block {number}: {against.words}")
        details.append(
            f"{each.title} on {each.setup}: the network has a test error of "
            f"{each.test_error_text}, the regression one of {percent(theirs)} % on held-out "
            "examples"
        )
    data = {
        "cell": each.id,
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
        return "All leaders are alike"
    return "Leaders differ" if low > ALIKE else "Whether leaders are alike is open"


def _last(each: Configuration, block: int, measure: str) -> dict[int, float]:
    """Return a measure in the last epoch by seed; seeds without a value are left out."""
    found = {}
    for seed, columns in each.tables.items():
        if curve := by_epoch(columns, block, measure):
            value = curve[max(curve)]
            if np.isfinite(value):
                found[seed] = value
    return found
