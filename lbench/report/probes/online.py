"""The probe ``online``: accuracy and loss on each batch before the step on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lbench.report.configurations import Configuration, by_task, configurations
from lbench.report.curves import numbers, smooth, thinned
from lbench.report.figures.figure import (
    LINES,
    PANELS,
    Figure,
    clipped,
    legend,
    log_axis,
    look,
    panels,
)
from lbench.studies.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHARE = 60
"""A curve is a mean over a window of one in so many of the run's steps."""
METRICS = {"accuracy": "accuracy on the next batch (%)", "loss": "loss on the next batch"}


def figures(results: Results, _: str = "") -> list[Figure]:
    """Draw accuracy and loss of each batch; a figure a place, a line a cell, a band its seeds."""
    drawn = []
    found = by_task(configurations(results, "online"))
    for number, (place, cells) in enumerate(list(found.items())[:PANELS]):
        name = "online" if len(found) == 1 else f"online-{number + 1}"
        drawn.append(_figure(place, cells, name))
    return drawn


def _figure(place: str, cells: list[Configuration], name: str) -> Figure:
    picture, axes = panels(2, height=3.6)
    tables = {each.title: _table(each) for each in cells}
    shown = cells if len(cells) <= LINES else sorted(cells, key=_last)[:LINES]
    for index, each in enumerate(cell for cell in cells if cell in shown):
        for panel, metric in zip(axes, METRICS, strict=True):
            _curve(panel, tables[each.title], metric, each.title, look(index))
    for panel, (metric, title) in zip(axes, METRICS.items(), strict=True):
        panel.set_xlabel("training step")
        panel.set_ylabel(title)
        values = [row[metric] for table in tables.values() for row in table]
        if metric == "loss" and min(values) > 0 and max(values) / min(values) > 8:
            log_axis(panel.yaxis, values)
    legend(picture, axes)
    caption = (
        f"Before the step on each batch, averaged over 1/{SHARE} of the run around it; the line is "
        "the mean over seeds, the band from the lowest to the highest."
    )
    if len(shown) < len(cells):
        caption += f" Shown are the {LINES} of lowest final error; {len(cells) - LINES} more in "
        caption += "the data."
    data = [row for table in tables.values() for row in table]
    return Figure(name, f"One pass over {place}", caption, picture, data)


def _table(each: Configuration) -> list[dict[str, Any]]:
    """Return a row for each place on the curve: mean, lowest and highest seed."""
    length = min(len(columns["step"]) for columns in each.tables.values())
    steps = next(iter(each.tables.values()))["step"]
    window = max(1, length // SHARE)
    curves: dict[str, np.ndarray[Any, Any]] = {}
    for metric, of in (("accuracy", "error"), ("loss", "loss")):
        rows = [smooth(numbers(c[of][:length]), window) for c in each.tables.values()]
        curves[metric] = np.stack([100 - row if metric == "accuracy" else row for row in rows])
    return [
        {
            "series": each.title,
            "step": steps[at],
            "seeds": len(each.tables),
            **{
                key: float(value)
                for metric, values in curves.items()
                for key, value in (
                    (metric, values[:, at].mean()),
                    (f"{metric}_low", values[:, at].min()),
                    (f"{metric}_high", values[:, at].max()),
                )
            },
        }
        for at in thinned(length)
    ]


def _curve(
    axes: Axes, table: list[dict[str, Any]], metric: str, name: str, look: Mapping[str, Any]
) -> None:
    at = [row["step"] for row in table]
    style = {**look, "markersize": 4, "markevery": (0.05, 0.12)}
    axes.plot(at, [row[metric] for row in table], label=clipped(name), **style)
    low = [row[f"{metric}_low"] for row in table]
    high = [row[f"{metric}_high"] for row in table]
    axes.fill_between(at, low, high, color=look["color"], alpha=0.15, linewidth=0)


def _last(each: Configuration) -> float:
    """Return the mean error over the last tenth of the run."""
    ends = [c["error"][-max(1, len(c["error"]) // 10) :] for c in each.tables.values()]
    return float(np.mean([np.mean(values) for values in ends]))
