"""The probe ``online``: accuracy and loss on each batch before the step on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from lbench.reporting import (
    PANELS,
    Configuration,
    Figure,
    StudyData,
    by_task,
    configurations,
    curve,
    few,
    left_out,
    legend,
    log_axis,
    look,
    panels,
    smooth,
    thinned,
)

SHARE = 60
"""A curve is a mean over a window of the run's steps divided by this number."""
METRICS = {"accuracy": "accuracy on the next batch (%)", "loss": "loss on the next batch"}


def figures(results: StudyData, _: str = "") -> list[Figure]:
    """Draw accuracy and loss of each batch; a figure per task, a line per configuration."""
    tasks = by_task(configurations(results, "online"))
    return [
        _figure(task, listed, "online" if len(tasks) == 1 else f"online-{number}")
        for number, (task, listed) in enumerate(list(tasks.items())[:PANELS], start=1)
    ]


def _figure(task: str, listed: list[Configuration], name: str) -> Figure:
    picture, axes = panels(2, height=3.6)
    tables = {entry.title: _table(entry) for entry in listed}
    data = [row for table in tables.values() for row in table]
    shown = few(listed, _last)
    for panel, (metric, label) in zip(axes, METRICS.items(), strict=True):
        for index, entry in enumerate(shown):
            names = ("step", metric, f"{metric}_low", f"{metric}_high")
            points = [tuple(row[name] for name in names) for row in tables[entry.title]]
            style = {**look(index), "markersize": 4, "markevery": (0.05, 0.12)}
            curve(panel, points, entry.title, style)
        panel.set_xlabel("training step")
        panel.set_ylabel(label)
        values = [row[metric] for row in data]
        if metric == "loss":
            log_axis(panel.yaxis, values, 8)
    legend(picture, axes)
    caption = (
        f"Before the step on each batch, averaged over 1/{SHARE} of the run around it; the line is "
        "the mean over seeds, the band from the lowest to the highest."
    ) + left_out(len(listed) - len(shown), "final error")
    return Figure(name, f"One pass over {task}", caption, picture, data)


def _table(entry: Configuration) -> list[dict[str, Any]]:
    """Return a row per point of the curve: mean, lowest and highest seed."""
    length = min(len(columns["step"]) for columns in entry.tables.values())
    steps = next(iter(entry.tables.values()))["step"]
    window = max(1, length // SHARE)
    seeds = {
        metric: np.stack(
            [
                smooth(np.array(c[column][:length], dtype=np.float64), window)
                for c in entry.tables.values()
            ]
        )
        for metric, column in (("accuracy", "error"), ("loss", "loss"))
    }
    seeds["accuracy"] = 100 - seeds["accuracy"]
    rows = []
    for at in thinned(length):
        row = {"series": entry.title, "step": steps[at], "seeds": len(entry.tables)}
        for metric, values in seeds.items():
            row[metric] = float(values[:, at].mean())
            row[f"{metric}_low"] = float(values[:, at].min())
            row[f"{metric}_high"] = float(values[:, at].max())
        rows.append(row)
    return rows


def _last(entry: Configuration) -> float:
    """Return the mean error over the last tenth of the run."""
    ends = [c["error"][-max(1, len(c["error"]) // 10) :] for c in entry.tables.values()]
    return float(np.mean([np.mean(values) for values in ends]))
