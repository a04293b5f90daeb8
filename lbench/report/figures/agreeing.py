"""Whether the leaders of a block become one classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lbench.report.figures.figure import (
    FAINT,
    PANELS,
    Figure,
    clipped,
    legend,
    look,
    panels,
)
from lbench.report.measured import Columns, Measured, by_place, measured
from lbench.study.results import Results

LINES = 10
MEASURES = {
    "cosine": "cosine of two leaders",
    "tv_mean": "distance of two leaders",
    "error": "error of one leader (%)",
}


def agreement(results: Results, _: str = "") -> list[Figure]:
    """How alike leaders predict over training, and how well; a figure a dataset and network."""
    found = by_place(measured(results, "agreement"))
    several = len(found) > 1
    return [
        _figure(place, cells, f"agreement-{number}" if several else "agreement")
        for number, (place, cells) in enumerate(list(found.items())[:PANELS], start=1)
    ]


def by_epoch(columns: Columns, block: int, measure: str) -> dict[int, float]:
    """A measure of a block by epoch; ``error`` is the mean over leaders. Classes are averaged."""
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


def blocks(each: Measured) -> list[int]:
    """Blocks that were looked at."""
    return sorted(set(next(iter(each.tables.values()))["block"]))


def _figure(place: str, cells: Sequence[Measured], name: str) -> Figure:
    picture, axes = panels(3, height=3.4)
    data: list[dict[str, Any]] = []
    regression: list[float] = []
    index = 0
    for each in cells:
        for block in blocks(each):
            series = f"{each.line.title}, block {block + 1}"
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
