"""Tasks one behind the other: the error matrix, and forgetting beside learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from lbench.report.figures.figure import (
    LINES,
    PANELS,
    Figure,
    clipped,
    few,
    head,
    legend,
    look,
    panels,
)
from lbench.report.lines import called
from lbench.report.measured import Measured, by_place, measured
from lbench.report.table import text
from lbench.statistics.continual import Continual, Matrix, continual, error_matrix
from lbench.statistics.intervals import interval
from lbench.study.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WRITTEN = 6
"""Tasks up to which each entry's number stands in it."""


def tasks(results: Results, _: str = "") -> list[Figure]:
    """The error matrix of each rule at its best rate, and forgetting against learning error."""
    found = [each for each in measured(results, "tasks") if matrices(each)]
    return [_matrices(found), _plane(found)] if found else []


def matrices(each: Measured) -> dict[int, Matrix]:
    """The error matrix of each seed, percent; seeds whose probe ended early have none."""
    found = {}
    for seed, columns in each.tables.items():
        with suppress(ValueError):
            matrix = error_matrix(columns["trained"], columns["task"], columns["error"])
            if np.isfinite(matrix).all():
                found[seed] = matrix
    return found


def along_rates(cells: Sequence[Measured]) -> dict[str, dict[float, Measured]]:
    """Cells of one place by what they are called without their learning rate, then by the rate.

    Cells without a rate of their own stand at 0.
    """
    points = [each.line.final.point for each in cells]
    found: dict[str, dict[float, Measured]] = {}
    for each in cells:
        point = each.line.final.point
        name = called(point, points, without=("lr",))
        found.setdefault(name, {})[float(point.settings.get("lr", 0.0))] = each
    return {name: dict(sorted(rates.items())) for name, rates in found.items()}


def in_numbers(each: Measured) -> dict[int, Continual]:
    """Average error, learning error, forgetting and backward transfer of each seed."""
    return {seed: continual(matrix) for seed, matrix in matrices(each).items()}


def best_of_each(found: Sequence[Measured]) -> list[Measured]:
    """Of each rule on each dataset the cell of lowest average error after the last task."""
    best: dict[tuple[str, str], tuple[float, Measured]] = {}
    for each in found:
        mine = float(np.mean([c.average_error for c in in_numbers(each).values()]))
        key = (each.group.title, each.line.name)
        if key not in best or mine < best[key][0]:
            best[key] = (mine, each)
    return [each for _, each in best.values()]


def _matrices(found: Sequence[Measured]) -> Figure:
    kept = best_of_each(found)
    shown = kept[:PANELS]
    picture, axes = panels(len(shown), height=2.9)
    data = [row for each in found for row in _entries(each)]
    for panel, each in zip(axes, shown, strict=True):
        image = _matrix(panel, np.mean(list(matrices(each).values()), axis=0))
        head(panel, f"{each.line.title}, {each.group.dataset}")
    picture.colorbar(image, ax=axes, label="error (%)", shrink=0.8)
    caption = (
        "Rows: after so many tasks; columns: the task that is looked at; mean over seeds. Right of "
        "the diagonal a task has not been learned yet. Of each rule the learning rate with the "
        "lowest average error after the last task."
    )
    if len(kept) > len(shown):
        caption += f" {len(kept) - len(shown)} more are in the data alone."
    return Figure("tasks", "Errors on every task after each of them", caption, picture, data)


def _matrix(axes: Axes, matrix: Matrix) -> Any:
    count = len(matrix)
    image = axes.imshow(matrix, cmap="cividis", vmin=0, vmax=100)
    axes.grid(visible=False)
    ticks = range(0, count, max(1, count // 10))
    axes.set_xticks(ticks, [str(at + 1) for at in ticks])
    axes.set_yticks(ticks, [str(at + 1) for at in ticks])
    axes.set_xlabel("task")
    axes.set_ylabel("tasks learned")
    if count <= WRITTEN:
        for (row, column), value in np.ndenumerate(matrix):
            # Light on dark and dark on light: cividis turns light half way.
            axes.text(
                column, row, f"{value:.0f}", ha="center", va="center", fontsize=8,
                color="#ffffff" if value < 55 else "#000000",
            )  # fmt: skip
    return image


def _plane(found: Sequence[Measured]) -> Figure:
    curves = {place: along_rates(cells) for place, cells in by_place(found).items()}
    kept = {
        place: dict(few(list(mine.items()), lambda pair: _lowest(pair[1])))
        for place, mine in curves.items()
    }
    names = list(dict.fromkeys(name for each in kept.values() for name in each))
    shown = list(curves)[:PANELS]
    picture, axes = panels(len(shown), across=2, height=3.4)
    data: list[dict[str, Any]] = []
    for number, (place, mine) in enumerate(curves.items()):
        for name, rates in mine.items():
            rows = [_point(place, name, each) for each in rates.values()]
            rows = [row for row in rows if row["forgetting"] is not None]
            data += rows
            if number < len(axes) and rows and name in kept[place]:
                _path(axes[number], rows, look(names.index(name)), name)
    for panel, place in zip(axes, shown, strict=True):
        panel.set_xlabel("learning error (%)")
        panel.set_ylabel("forgetting (points)")
        head(panel, place)
    legend(picture, axes)
    caption = (
        "Learning error: mean error on each task just after it was learned; forgetting: how much "
        "it has risen at the end above its lowest. Each line goes through the learning rates from "
        "the smallest (small marker) to the largest; at the same learning error, the lower line "
        "forgets less. Bars: 95 % t intervals over seeds."
    )
    if left := sum(map(len, curves.values())) - sum(map(len, kept.values())):
        caption += f" Shown are the {LINES} of lowest average error; {left} more are in the data."
    return Figure("plasticity", "Forgetting at equal learning", caption, picture, data)


def _lowest(rates: Mapping[float, Measured]) -> float:
    """Return the lowest average error after the last task, over the learning rates."""
    return min(
        float(np.mean([found.average_error for found in in_numbers(each).values()]))
        for each in rates.values()
    )


def _path(axes: Axes, rows: Sequence[dict[str, Any]], style: dict[str, Any], name: str) -> None:
    at, height = [r["learning_error"] for r in rows], [r["forgetting"] for r in rows]
    axes.plot(at, height, linewidth=1.2, color=style["color"], linestyle=style["linestyle"])
    axes.plot([], [], label=clipped(name), **style)
    for index, row in enumerate(rows):
        axes.plot(
            [row["learning_error"]], [row["forgetting"]], marker=style["marker"],
            color=style["color"], markersize=3.5 + 1.2 * index,
        )  # fmt: skip
        if row["forgetting_low"] is not None:
            axes.plot(
                [row["learning_error"]] * 2, [row["forgetting_low"], row["forgetting_high"]],
                color=style["color"], linewidth=1, alpha=0.6,
            )  # fmt: skip


def _point(place: str, name: str, each: Measured) -> dict[str, Any]:
    known = in_numbers(each).values()
    learned = interval([c.learning_error for c in known])
    forgot = [c.forgetting for c in known if c.forgetting is not None]
    back = [c.backward_transfer for c in known if c.backward_transfer is not None]
    forgetting = interval(forgot, each.line.row.step) if forgot else None
    return {
        "panel": place,
        "series": name,
        "settings": each.line.settings,
        "learning_error": learned.mean,
        "forgetting": forgetting.mean if forgetting else None,
        "forgetting_low": forgetting.low if forgetting else None,
        "forgetting_high": forgetting.high if forgetting else None,
        "average_error": interval([c.average_error for c in known]).mean,
        "backward_transfer": interval(back).mean if back else None,
        "seeds": len(known),
    }


def _entries(each: Measured) -> list[dict[str, Any]]:
    return [
        {
            "dataset": each.group.dataset,
            "series": each.line.title,
            "seed": text(seed),
            "trained": row + 1,
            "task": column + 1,
            "error": float(value),
        }
        for seed, matrix in matrices(each).items()
        for (row, column), value in np.ndenumerate(matrix)
    ]
