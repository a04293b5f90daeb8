"""What each block adds: the error of a linear classifier of what it passes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lbench.report.figures.figure import (
    PANELS,
    Figure,
    clipped,
    head,
    legend,
    log_axis,
    look,
    panels,
)
from lbench.report.measured import Measured, by_place, measured
from lbench.statistics.intervals import Summary, error_interval
from lbench.study.results import Results

LINES = 10


def linear(results: Results, _: str = "") -> list[Figure]:
    """Held-out error of a linear probe by block after training; a panel a task, a line a cell."""
    from matplotlib.ticker import MaxNLocator

    by_task = by_place(measured(results, "linear"))
    if not by_task:
        return []
    shown = list(by_task.items())[:PANELS]
    picture, axes = panels(len(shown), height=3.2)
    names = list(dict.fromkeys(each.line.title for cells in by_task.values() for each in cells))
    data: list[dict[str, Any]] = []
    for number, (task, cells) in enumerate(by_task.items()):
        tables = {each.line.title: by_block(each) for each in cells}
        data += _rows(task, tables)
        if number >= len(axes):
            continue
        panel = axes[number]
        for name, table in list(tables.items())[:LINES]:
            style = look(names.index(name))
            at = [block + 1 for block in table]
            panel.plot(at, [s.mean for s in table.values()], label=clipped(name), **style)
            ends = [(s.mean if s.low is None else s.low, s.mean if s.high is None else s.high)
                    for s in table.values()]  # fmt: skip
            low, high = zip(*ends, strict=True)
            panel.fill_between(at, low, high, color=style["color"], alpha=0.12, linewidth=0)
        values = [s.mean for table in tables.values() for s in table.values()]
        if min(values) > 0 and max(values) / min(values) > 8:
            log_axis(panel.yaxis, values)
            # Intervals that reach down to 0 would stretch it without end.
            panel.set_ylim(min(values) / 2, min(100.0, max(values) * 1.5))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_xlabel("block (0: the input)")
        panel.set_ylabel("error of a linear probe (%)")
        head(panel, task)
    legend(picture, axes)
    caption = (
        "After the last epoch, on held-out examples; a ridge regression of what each block passes "
        "on. Mean over seeds with its 95 % t interval."
    )
    if any(len(cells) > LINES for cells in by_task.values()):
        caption += f" The first {LINES} cells are shown, the data have all."
    return [Figure("linear", "A linear probe of every block", caption, picture, data)]


def by_block(each: Measured) -> dict[int, Summary]:
    """Error by block in the last epoch, over seeds; -1 is the network's input."""
    values: dict[int, list[float]] = {}
    for columns in each.tables.values():
        last = max(columns["epoch"])
        for epoch, block, error in zip(
            columns["epoch"], columns["block"], columns["error"], strict=True
        ):
            if epoch == last and error is not None:
                values.setdefault(block, []).append(error)
    # Neither the record nor the probe says how many examples were held out.
    found = {block: error_interval(values[block], None) for block in sorted(values)}
    return {block: summary for block, summary in found.items() if summary is not None}


def _rows(task: str, tables: dict[str, dict[int, Summary]]) -> Sequence[dict[str, Any]]:
    return [
        {
            "panel": task,
            "series": name,
            "block": block + 1,
            "error": summary.mean,
            "low": summary.low,
            "high": summary.high,
            "seeds": summary.n,
        }
        for name, table in tables.items()
        for block, summary in table.items()
    ]
