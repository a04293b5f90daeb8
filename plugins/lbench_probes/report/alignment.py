"""The probe ``alignment``: angle of updates to the gradient, their bias and their variance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lbench.reporting import (
    FAINT,
    INK,
    UNDECIDED,
    Answer,
    Configuration,
    Figure,
    StudyData,
    Summary,
    by_task,
    clipped,
    configurations,
    curve,
    few,
    interval,
    joined,
    left_out,
    legend,
    look,
    panel_figure,
    panels,
    spread,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[float, float, float, float]
"""Step, mean, lowest and highest seed."""
ALL = "all"
"""The probe's name for all parameters together."""
FLOOR = 1e-3
"""Squared norms of the gradient below which bias and variance count as zero."""
NAMED = 8
"""Rules in the sentence of the answer."""


def figures(results: StudyData, _: str = "") -> list[Figure]:
    """Draw angles by layer over training, a panel per configuration; then bias and variance."""
    tasks = by_task(configurations(results, "alignment"))
    drawn: list[Figure] = []
    for number, (task, listed) in enumerate(tasks.items(), start=1):
        end = "" if len(tasks) == 1 else f"-{number}"
        drawn += _angles(task, listed, f"alignment{end}")
        drawn.append(_parts(task, listed, f"bias-variance{end}"))
    return drawn


def analysis(results: StudyData) -> Answer:
    """State the rules in the order of their angle to the gradient, over the whole run."""
    tasks = by_task(configurations(results, "alignment"))
    if not tasks:
        return Answer(f"{UNDECIDED}: no run has recorded the direction of its updates.")
    sentences, details = [], []
    data: list[dict[str, Any]] = []
    for task, listed in tasks.items():
        angles = [
            (entry, interval(list(values.values())))
            for entry in listed
            if (values := over_run(entry, ALL, "cosine"))
        ]
        angles.sort(key=lambda pair: pair[1].mean)
        said = [f"{entry.title} {spread(angle, 0)}°" for entry, angle in angles]
        words = f"On {task} the angle of an update to the gradient, mean over training, is "
        sentences.append(words + joined(said, most=NAMED))
        details += [_detail(entry) for entry, _ in angles]
        data += [_data(task, entry, angle) for entry, angle in angles]
    return Answer(". ".join(sentences) + ".", details, {"cells": data})


def angle(cosine: float) -> float:
    """Return the angle of a cosine, in degrees."""
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def layers(entry: Configuration) -> list[str]:
    """Return the names of the layers in their order, that of all together last."""
    first = next(iter(entry.tables.values()))
    return [name for name in dict.fromkeys(first["layer"]) if name != ALL] + [ALL]


def repeats(entry: Configuration) -> int:
    """Return how often a step was repeated with other noise; 1 where it draws none."""
    return int(max(max(columns["repeats"]) for columns in entry.tables.values()))


def values_of(entry: Configuration, layer: str, column: str) -> dict[int, dict[int, float]]:
    """Return a layer's column by seed and step; cosines as angles in degrees."""
    found: dict[int, dict[int, float]] = {}
    for seed, columns in entry.tables.items():
        rows = zip(columns["step"], columns["layer"], columns[column], strict=True)
        found[seed] = {
            step: angle(value) if "cosine" in column else value
            for step, name, value in rows
            if name == layer and value is not None
        }
    return {seed: values for seed, values in found.items() if values}


def points(entry: Configuration, layer: str, column: str) -> list[Point]:
    """Return a layer's column over training: mean, lowest and highest seed by step."""
    by_step: dict[int, list[float]] = {}
    for steps in values_of(entry, layer, column).values():
        for step, value in steps.items():
            by_step.setdefault(step, []).append(value)
    return [
        (step, float(np.mean(values)), min(values), max(values))
        for step, values in sorted(by_step.items())
    ]


def over_run(entry: Configuration, layer: str, column: str) -> Mapping[int, float]:
    """Return the mean of a layer's column over the run by seed; cosines as angles in degrees."""
    by_seed = values_of(entry, layer, column)
    return {seed: float(np.mean(list(steps.values()))) for seed, steps in by_seed.items()}


def _angles(task: str, listed: Sequence[Configuration], name: str) -> list[Figure]:
    order = list(dict.fromkeys(layer for entry in listed for layer in layers(entry)))
    data = [
        {"panel": entry.title, "layer": layer, "step": s, "angle": m, "low": a, "high": b}
        for entry in listed
        for layer in layers(entry)
        for s, m, a, b in points(entry, layer, "cosine")
    ]

    def draw(panel: Axes, entry: Configuration) -> None:
        for layer in layers(entry):
            if line := points(entry, layer, "cosine"):
                curve(panel, line, layer, _style(layer, order), alpha=0.12)
        panel.axhline(90, color=FAINT, linewidth=1)
        panel.set_ylim(0, max(100.0, panel.get_ylim()[1]))
        panel.set_yticks([0, 30, 60, 90, *([120, 150, 180] if panel.get_ylim()[1] > 115 else [])])
        panel.set_xlabel("training step")
        panel.set_ylabel("angle to the gradient (°)")

    caption = (
        "Between the gradients that a rule gives to its optimizers and the gradient of the output "
        "loss, on one fixed batch; at 90° a step is no better than chance. Layers from the input "
        "(dark) to the readout (light), black: all together. Mean over seeds, the band from the "
        "lowest to the highest; for a rule with noise in its step the mean over its repeats."
    )
    title = f"Angle to the gradient on {task}"
    contents = [(entry.title, entry) for entry in listed]
    return panel_figure(
        name, title, caption, contents, draw, data, height=2.7, what="configurations"
    )


def _style(layer: str, order: Sequence[str]) -> dict[str, Any]:
    import matplotlib as mpl

    if layer == ALL:
        return {"color": INK, "linestyle": "-", "linewidth": 2.0}
    share = order.index(layer) / max(1, len(order) - 2)
    return {
        "color": mpl.colormaps["cividis"](0.05 + 0.85 * share),
        "linestyle": look(order.index(layer))["linestyle"],
        "linewidth": 1.4,
    }


def _parts(task: str, listed: Sequence[Configuration], name: str) -> Figure:
    """Draw the bias of every rule, and the variance of those that draw noise."""
    picture, axes = panels(2, height=3.6)
    data: list[dict[str, Any]] = []
    shown = few(listed, _error)
    looks = {entry.title: {**look(at), "markevery": 0.2} for at, entry in enumerate(shown)}
    for entry in listed:
        for panel, column in zip(axes, ("bias", "variance"), strict=True):
            line = points(entry, ALL, column)
            data += [
                {"series": entry.title, "of": column, "step": s, "value": m, "low": a, "high": b}
                for s, m, a, b in line
            ]
            positive = [(step, middle) for step, middle, *_ in line if middle > 0]
            style = looks.get(entry.title)
            if positive and style and (column == "bias" or repeats(entry) > 1):
                panel.plot(*zip(*positive, strict=True), label=clipped(entry.title), **style)
    for panel, column in zip(axes, ("squared bias", "variance"), strict=True):
        panel.set_yscale("log")
        panel.set_ylim(bottom=max(FLOOR, panel.get_ylim()[0]))
        panel.set_xlabel("training step")
        panel.set_ylabel(f"{column} (squared norms of the gradient)")
    legend(picture, axes)
    caption = (
        "All parameters together, on one fixed batch; mean over seeds. A rule without noise in its "
        "step has no variance. A logarithmic axis leaves out estimates of the squared bias of 0 or "
        "below, which an unbiased rule has half of the time, and rounding errors; the data have "
        "them."
    ) + left_out(len(listed) - len(shown), "test error")
    return Figure(name, f"Bias and variance of the update on {task}", caption, picture, data)


def _detail(entry: Configuration) -> str:
    angles = [
        f"{layer} {spread(interval(list(values.values())), 0)}°"
        for layer in layers(entry)
        if layer != ALL and (values := over_run(entry, layer, "cosine"))
    ]
    words = f"{entry.title} on {entry.task}: {joined(angles, most=10) or 'no layer'}"
    if bias := over_run(entry, ALL, "bias"):
        words += f"; squared bias {_small(interval(list(bias.values())))}"
    if repeats(entry) > 1 and (variance := over_run(entry, ALL, "variance")):
        words += f" and variance {_small(interval(list(variance.values())))}"
    return f"{words} squared norms of the gradient ({len(entry.tables)} seeds)."


def _error(entry: Configuration) -> float:
    """Return the mean test error, by which configurations are chosen; infinite without one."""
    return entry.test_error.mean if entry.test_error else math.inf


def _small(summary: Summary) -> str:
    if summary.low is None or summary.high is None:
        return f"{summary.mean:.2g}"
    return f"{summary.mean:.2g} [{summary.low:.2g}, {summary.high:.2g}]"


def _data(task: str, entry: Configuration, angle: Summary) -> dict[str, Any]:
    return {
        "where": task,
        "series": entry.title,
        "angle": angle.as_dict(),
        "bias": over_run(entry, ALL, "bias"),
        "variance": over_run(entry, ALL, "variance") if repeats(entry) > 1 else None,
        "layers": {layer: over_run(entry, layer, "cosine") for layer in layers(entry)},
    }
