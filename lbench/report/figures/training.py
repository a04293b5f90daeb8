"""Loss and validation error over training: against epochs, seconds and operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lbench.report.figures.figure import (
    LINES,
    PANELS,
    Figure,
    curve,
    legend,
    log_axis,
    look,
    panels,
)
from lbench.report.lines import Group, Line, groups
from lbench.rundir import RunDir
from lbench.statistics.intervals import interval_of_known
from lbench.studies.results import StudyData

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Epoch = Mapping[str, Any]


METRICS = {"train_loss": "training loss", "val_error": "validation error (%)"}
CLOCKS: Mapping[str, tuple[str, Callable[[Epoch, Line], float | None]]] = {
    "epoch": ("epochs", lambda row, line: float(row["epoch"])),
    "seconds": ("training (s)", lambda row, line: float(row["seconds"]["training"])),
    "flops": (
        "training (GFLOP)",
        lambda row, line: (
            ops * row["step"] / 1e9 if (ops := line.row.measured["step_flops"]) else None
        ),
    ),
}
WIDE = 8
"""Ratio of values from which on their axis is logarithmic: the first epochs have large ones."""


def curves(results: StudyData, _: str = "") -> list[Figure]:
    """Draw a figure per group: metrics in rows, clocks in columns, a line per configuration."""
    known = [group for group in groups(results) if group.known]
    drawn = [
        _figure(group, "curves" if len(known) == 1 else f"curves-{number}")
        for number, group in enumerate(known[:PANELS], start=1)
    ]
    return [figure for figure in drawn if figure is not None]


def _figure(group: Group, name: str) -> Figure | None:
    shown = _shown(group.known)
    tables = {line.title: _table(line) for line in group.known}
    rows = [row for table in tables.values() for row in table]
    metrics = [m for m in METRICS if any(row[m] is not None for row in rows)]
    clocks = [c for c in CLOCKS if any(row[c] is not None for row in rows)]
    if not metrics or len({row["epoch"] for row in rows}) < 2:
        return None
    picture, axes = panels(len(metrics) * len(clocks), across=len(clocks), height=2.8)
    for index, panel in enumerate(axes):
        metric, clock = metrics[index // len(clocks)], clocks[index % len(clocks)]
        for at, line in enumerate(shown):
            _curve(panel, tables[line.title], clock, metric, look(at))
        if index % len(clocks) == 0:
            panel.set_ylabel(METRICS[metric])
        if index // len(clocks) == len(metrics) - 1:
            panel.set_xlabel(CLOCKS[clock][0])
        values = [row[metric] for row in rows if row[metric] is not None]
        log_axis(panel.yaxis, values, WIDE)
    legend(picture, axes)
    caption = "Mean over seeds; the band is from the lowest to the highest seed."
    if left := len(group.known) - len(shown):
        caption += " Shown is the configuration of lowest test error of each rule; "
        caption += f"{left} more in the data."
    if "flops" in clocks:
        caption += " GFLOP: of training steps' matrix products."
    return Figure(name, f"Training on {group.title}", caption, picture, rows)


def _shown(lines: Sequence[Line]) -> list[Line]:
    """Return all lines where they are few; else the best of each name, and at most LINES."""
    if len(lines) <= LINES:
        return list(lines)
    best: dict[str, Line] = {}
    for line in sorted(lines, key=lambda line: line.error):
        best.setdefault(line.name, line)
    shown = list(best.values())[:LINES]
    return [line for line in lines if line in shown]


def _table(line: Line) -> list[dict[str, Any]]:
    """Return a row per epoch: mean over seeds, and the lowest and highest seed."""
    by_epoch: dict[int, list[Epoch]] = {}
    for run in line.final.runs:
        for row in RunDir(run.run_dir).epochs() if run.status == "finished" else ():
            by_epoch.setdefault(row["epoch"], []).append(row)
    table = []
    for epoch, epochs in by_epoch.items():
        entry: dict[str, Any] = {"series": line.title, "epoch": epoch, "seeds": len(epochs)}
        for clock in ("seconds", "flops"):
            summary = interval_of_known(CLOCKS[clock][1](row, line) for row in epochs)
            entry[clock] = summary.mean if summary else None
        for metric in METRICS:
            values = [row[metric] for row in epochs if row.get(metric) is not None]
            entry[metric] = sum(values) / len(values) if values else None
            entry[f"{metric}_low"] = min(values, default=None)
            entry[f"{metric}_high"] = max(values, default=None)
        table.append(entry)
    return table


def _curve(
    axes: Axes, table: Sequence[Epoch], clock: str, metric: str, look: Mapping[str, Any]
) -> None:
    rows = [row for row in table if row[clock] is not None and row[metric] is not None]
    if rows:
        names = (clock, metric, f"{metric}_low", f"{metric}_high")
        points = [tuple(row[name] for name in names) for row in rows]
        style = {"markevery": max(1, len(rows) // 8), **look, "markersize": 4}
        curve(axes, points, rows[0]["series"], style)
