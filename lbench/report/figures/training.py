"""Loss and validation error over training: against epochs, seconds and operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
from lbench.report.figures.series import epoch_logs
from lbench.report.lines import Group, Line, groups
from lbench.statistics.intervals import interval_of_known
from lbench.studies.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Epoch = Mapping[str, Any]


def _gigaflop(row: Epoch, step_flops: float | None) -> float | None:
    return step_flops * row["step"] / 1e9 if step_flops else None


METRICS = {"train_loss": "training loss", "val_error": "validation error (%)"}
CLOCKS: Mapping[str, tuple[str, Callable[[Epoch, Line], float | None]]] = {
    "epoch": ("epochs", lambda row, line: float(row["epoch"])),
    "seconds": ("training (s)", lambda row, line: float(row["seconds"]["training"])),
    "flops": (
        "training (GFLOP)",
        lambda row, line: _gigaflop(row, line.row.measured["step_flops"]),
    ),
}


def curves(results: Results, _: str = "") -> list[Figure]:
    """A figure a group: metrics in rows, clocks in columns, a line a cell with its seed band."""
    figures: list[Figure] = []
    found = [group for group in groups(results) if group.known]
    for number, group in enumerate(found[:PANELS]):
        name = "curves" if len(found) == 1 else f"curves-{number + 1}"
        if (figure := _figure(group, name)) is not None:
            figures.append(figure)
    return figures


def _figure(group: Group, name: str) -> Figure | None:
    chosen = _chosen(group.known)
    tables = {line.title: _table(line) for line in group.known}
    rows = [row for table in tables.values() for row in table]
    metrics = [m for m in METRICS if any(row[m] is not None for row in rows)]
    clocks = [c for c in CLOCKS if any(row[c] is not None for row in rows)]
    if not metrics or len({row["epoch"] for row in rows}) < 2:
        return None
    picture, axes = panels(len(metrics) * len(clocks), across=len(clocks), height=2.8)
    for index, each in enumerate(axes):
        metric, clock = metrics[index // len(clocks)], clocks[index % len(clocks)]
        for at, line in enumerate(chosen):
            _curve(each, tables[line.title], clock, metric, line.title, look(at))
        if index % len(clocks) == 0:
            each.set_ylabel(METRICS[metric])
        if index // len(clocks) == len(metrics) - 1:
            each.set_xlabel(CLOCKS[clock][0])
        _log_if_wide(each, [row[metric] for row in rows])
    legend(picture, axes)
    caption = "Mean over seeds; the band is from the lowest to the highest seed."
    if len(chosen) < len(group.known):
        left = len(group.known) - len(chosen)
        caption += f" Shown is the cell of lowest test error of each rule; {left} more in the data."
    if "flops" in clocks:
        caption += " GFLOP: of training steps' matrix products."
    return Figure(name, f"Training on {group.title}", caption, picture, rows)


def _chosen(lines: Sequence[Line]) -> list[Line]:
    """All lines where they are few; else the best of each name, and at most so many."""
    if len(lines) <= LINES:
        return list(lines)
    best: dict[str, Line] = {}
    for line in sorted(lines, key=lambda line: line.row.test.mean if line.row.test else 0.0):
        best.setdefault(line.name, line)
    kept = list(best.values())[:LINES]
    return [line for line in lines if line in kept]


def _table(line: Line) -> list[dict[str, Any]]:
    """One row an epoch: mean over seeds, and the lowest and highest seed."""
    by_epoch: dict[int, list[Epoch]] = {}
    for rows in epoch_logs(line.final).values():
        for row in rows:
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
    axes: Axes,
    table: Sequence[Mapping[str, Any]],
    clock: str,
    metric: str,
    name: str,
    look: Mapping[str, Any],
) -> None:
    rows = [row for row in table if row[clock] is not None and row[metric] is not None]
    if not rows:
        return
    at = [row[clock] for row in rows]
    every = max(1, len(rows) // 8)
    axes.plot(
        at, [row[metric] for row in rows], label=clipped(name), markevery=every,
        **{**look, "markersize": 4},
    )  # fmt: skip
    low = [row[f"{metric}_low"] for row in rows]
    high = [row[f"{metric}_high"] for row in rows]
    axes.fill_between(at, low, high, color=look["color"], alpha=0.15, linewidth=0)


def _log_if_wide(axes: Axes, values: Sequence[float | None]) -> None:
    known = [value for value in values if value is not None and value > 0]
    # Errors of the first epochs would press the others flat.
    if (
        known
        and len(known) == len([v for v in values if v is not None])
        and (max(known) / min(known) > 8)
    ):
        log_axis(axes.yaxis, known)
