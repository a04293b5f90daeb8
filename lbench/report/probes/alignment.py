"""The probe ``alignment``: angle of updates to the gradient, their bias and their variance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lbench.report.answers.answer import UNDECIDED, Answer, joined
from lbench.report.configurations import Configuration, by_task, configurations
from lbench.report.curves import numbers
from lbench.report.figures.figure import (
    FAINT,
    INK,
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
from lbench.report.table import spread
from lbench.statistics.intervals import Summary, interval
from lbench.studies.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALL = "all"
"""What the probe calls all parameters together."""
FLOOR = 1e-3
"""Squared norms of the gradient below which bias and variance are none."""
NAMED = 8
"""Rules in the sentence of the answer."""
Curve = list[tuple[int, float, float, float]]
"""Step, mean over seeds, lowest and highest seed."""


def figures(results: Results, _: str = "") -> list[Figure]:
    """Draw angles by map over training, a panel a cell; and bias and variance of all maps."""
    found = by_task(configurations(results, "alignment"))
    drawn = []
    for number, (place, cells) in enumerate(found.items()):
        end = "" if len(found) == 1 else f"-{number + 1}"
        drawn.append(_angles(place, cells, f"alignment{end}"))
        drawn.append(_parts(place, cells, f"bias-variance{end}"))
    return drawn


def analysis(results: Results) -> Answer:
    """State the rules in the order of their angle to the gradient, over the whole run."""
    found = configurations(results, "alignment")
    if not found:
        return Answer(f"{UNDECIDED}: no run has recorded where its updates point.")
    sentences, details = [], []
    data: list[dict[str, Any]] = []
    for place, cells in by_task(found).items():
        angles = [(each, interval(list(a.values()))) for each in cells
                  if (a := over_run(each, ALL, "cosine"))]  # fmt: skip
        angles.sort(key=lambda pair: pair[1].mean)
        told = [f"{each.title} {spread(angle, 0)}°" for each, angle in angles]
        words = f"On {place} the angle of an update to the gradient, mean over training, is "
        sentences.append(words + joined(told, most=NAMED))
        details += [_detail(each) for each, _ in angles]
        data += [_data(place, each, angle) for each, angle in angles]
    return Answer(". ".join(sentences) + ".", details, {"cells": data})


def angle(cosine: float) -> float:
    """Return the angle of a cosine, in degrees."""
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def curve(each: Configuration, layer: str, column: str) -> Curve:
    """Return a column of one layer over training: mean, lowest and highest seed by step."""
    found: dict[int, list[float]] = {}
    for columns in each.tables.values():
        rows = zip(columns["step"], columns["layer"], columns[column], strict=True)
        for step, mine, value in rows:
            if mine == layer and value is not None:
                found.setdefault(step, []).append(angle(value) if "cosine" in column else value)
    return [
        (step, float(np.mean(values)), min(values), max(values))
        for step, values in sorted(found.items())
    ]


def layers(each: Configuration) -> list[str]:
    """Return the names of the layers in their order, that of all together last."""
    first = next(iter(each.tables.values()))
    names = dict.fromkeys(first["layer"])
    return [name for name in names if name != ALL] + [ALL]


def repeats(each: Configuration) -> int:
    """Return how often a step was repeated with other noise; 1 where it draws none."""
    return int(max(max(columns["repeats"]) for columns in each.tables.values()))


def _angles(place: str, cells: Sequence[Configuration], name: str) -> Figure:
    shown = cells[:PANELS]
    picture, axes = panels(len(shown), height=2.7)
    data: list[dict[str, Any]] = []
    order = list(dict.fromkeys(layer for each in cells for layer in layers(each)))
    for number, each in enumerate(cells):
        for layer in layers(each):
            points = curve(each, layer, "cosine")
            data += [
                {"panel": each.title, "layer": layer, "step": s, "angle": m, "low": a, "high": b}
                for s, m, a, b in points
            ]
            if number < len(axes) and points:
                _angle(axes[number], points, layer, order)
    for panel, each in zip(axes, shown, strict=True):
        panel.axhline(90, color=FAINT, linewidth=1)
        panel.set_ylim(0, max(100.0, panel.get_ylim()[1]))
        panel.set_yticks([0, 30, 60, 90, *([120, 150, 180] if panel.get_ylim()[1] > 115 else [])])
        panel.set_xlabel("training step")
        panel.set_ylabel("angle to the gradient (°)")
        head(panel, each.title)
    legend(picture, axes)
    caption = (
        "Between what a rule hands to its optimizers and the gradient of the output loss, on one "
        "fixed batch; at 90° a step is no better than chance. Maps from the input (dark) to the "
        "readout (light), black: all together. Mean over seeds, the band from the lowest to the "
        "highest; of a rule with noise in its step the mean over its repeats."
    )
    if len(cells) > len(shown):
        caption += f" {len(cells) - len(shown)} more cells are in the data alone."
    return Figure(name, f"Angle to the gradient on {place}", caption, picture, data)


def _angle(axes: Axes, points: Curve, layer: str, order: Sequence[str]) -> None:
    import matplotlib as mpl

    style: dict[str, Any] = {"color": INK, "linestyle": "-", "linewidth": 2.0}
    if layer != ALL:
        share = order.index(layer) / max(1, len(order) - 2)
        style = {
            "color": mpl.colormaps["cividis"](0.05 + 0.85 * share),
            "linestyle": look(order.index(layer))["linestyle"],
            "linewidth": 1.4,
        }
    at = [step for step, *_ in points]
    axes.plot(at, [mean for _, mean, _, _ in points], label=clipped(layer), **style)
    low, high = [a for *_, a, _ in points], [b for *_, b in points]
    axes.fill_between(at, low, high, color=style["color"], alpha=0.12, linewidth=0)


def _parts(place: str, cells: Sequence[Configuration], name: str) -> Figure:
    """Draw the bias of every rule, and the variance of those that draw noise."""
    picture, axes = panels(2, height=3.6)
    data: list[dict[str, Any]] = []
    shown = few(cells, lambda each: each.line.row.test.mean if each.line.row.test else math.inf)
    looks = {each.title: {**look(at), "markevery": 0.2} for at, each in enumerate(shown)}
    for each in cells:
        for panel, column in zip(axes, ("bias", "variance"), strict=True):
            points = curve(each, ALL, column)
            data += [
                {
                    "series": each.title,
                    "of": column,
                    "step": s,
                    "value": m,
                    "low": a,
                    "high": b,
                }
                for s, m, a, b in points
            ]
            kept = [(s, m) for s, m, *_ in points if m > 0]
            style = looks.get(each.title)
            if kept and style and (column == "bias" or repeats(each) > 1):
                panel.plot(*zip(*kept, strict=True), label=clipped(each.title), **style)
    for panel, column in zip(axes, ("squared bias", "variance"), strict=True):
        panel.set_yscale("log")
        panel.set_ylim(bottom=max(FLOOR, panel.get_ylim()[0]))
        panel.set_xlabel("training step")
        panel.set_ylabel(f"{column} (squared norms of the gradient)")
    legend(picture, axes)
    caption = (
        "Of all parameters together, on one fixed batch; mean over seeds. A rule without noise "
        "in its step has no variance. Squared biases that are estimated at 0 or below, as an "
        "unbiased rule's are half of the time, have no place on a logarithmic axis, and what is a "
        "rounding lies below it; the data have them."
    )
    if left := len(cells) - len(shown):
        caption += f" Shown are the {LINES} of lowest test error; {left} more are in the data."
    title = f"Bias and variance of the update on {place}"
    return Figure(name, title, caption, picture, data)


def over_run(each: Configuration, layer: str, column: str) -> Mapping[int, float]:
    """Return the mean of a layer's column over the run by seed; of cosines, angles in degrees."""
    found: dict[int, float] = {}
    for seed, columns in each.tables.items():
        mine = [
            angle(value) if "cosine" in column else value
            for name, value in zip(columns["layer"], columns[column], strict=True)
            if name == layer and value is not None
        ]
        values = numbers(mine)
        if len(values):
            found[seed] = float(values.mean())
    return found


def _detail(each: Configuration) -> str:
    maps = [
        f"{layer} {spread(interval(list(values.values())), 0)}°"
        for layer in layers(each)
        if layer != ALL and (values := over_run(each, layer, "cosine"))
    ]
    words = f"{each.title} on {each.task}: {joined(maps, most=10) or 'no map'}"
    bias = over_run(each, ALL, "bias")
    if bias:
        words += f"; squared bias {_small(interval(list(bias.values())))}"
    if repeats(each) > 1 and (variance := over_run(each, ALL, "variance")):
        words += f" and variance {_small(interval(list(variance.values())))}"
    return f"{words} squared norms of the gradient ({len(each.tables)} seeds)."


def _small(summary: Summary) -> str:
    if summary.low is None or summary.high is None:
        return f"{summary.mean:.2g}"
    return f"{summary.mean:.2g} [{summary.low:.2g}, {summary.high:.2g}]"


def _data(place: str, each: Configuration, angle: Summary) -> dict[str, Any]:
    return {
        "where": place,
        "series": each.title,
        "angle": angle.as_dict(),
        "bias": over_run(each, ALL, "bias"),
        "variance": over_run(each, ALL, "variance") if repeats(each) > 1 else None,
        "layers": {layer: over_run(each, layer, "cosine") for layer in layers(each)},
    }
