"""How near updates are to the gradient: an angle a rule, with bias and variance."""

from __future__ import annotations

from typing import Any

from lbench.report.answers.answer import UNDECIDED, Answer, joined
from lbench.report.answers.watched import shown
from lbench.report.figures.aligned import ALL, layers, over_run, repeats
from lbench.report.measured import Measured, by_place, measured
from lbench.statistics.intervals import Summary, interval
from lbench.study.results import Results

NAMED = 8


def alignment(results: Results) -> Answer:
    """The rules in the order of their angle to the gradient, over the whole run."""
    found = measured(results, "alignment")
    if not found:
        return Answer(f"{UNDECIDED}: no run has recorded where its updates point.")
    sentences, details = [], []
    data: list[dict[str, Any]] = []
    for place, cells in by_place(found).items():
        angles = [(each, interval(list(a.values()))) for each in cells
                  if (a := over_run(each, ALL, "cosine"))]  # fmt: skip
        angles.sort(key=lambda pair: pair[1].mean)
        told = [f"{each.line.title} {shown(angle, 0)}°" for each, angle in angles]
        words = f"On {place} the angle of an update to the gradient, mean over training, is "
        sentences.append(words + joined(told, most=NAMED))
        details += [_detail(each) for each, _ in angles]
        data += [_data(place, each, angle) for each, angle in angles]
    return Answer(". ".join(sentences) + ".", details, {"cells": data})


def _detail(each: Measured) -> str:
    maps = [
        f"{layer} {shown(interval(list(values.values())), 0)}°"
        for layer in layers(each)
        if layer != ALL and (values := over_run(each, layer, "cosine"))
    ]
    words = f"{each.line.title} on {each.group.title}: {joined(maps, most=10) or 'no map'}"
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


def _data(place: str, each: Measured, angle: Summary) -> dict[str, Any]:
    return {
        "where": place,
        "series": each.line.title,
        "angle": angle.as_dict(),
        "bias": over_run(each, ALL, "bias"),
        "variance": over_run(each, ALL, "variance") if repeats(each) > 1 else None,
        "layers": {layer: over_run(each, layer, "cosine") for layer in layers(each)},
    }
