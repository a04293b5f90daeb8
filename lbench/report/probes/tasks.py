"""The probe ``tasks``: the error matrix of a sequence of tasks, and what rules forget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from lbench.registry import registry
from lbench.report.answers.answer import UNDECIDED, Answer, capital, joined
from lbench.report.configurations import Configuration, by_task, configurations
from lbench.report.contrasts import Contrast, adjusted, paired_contrast
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
from lbench.report.table import percent, text
from lbench.statistics.continual import (
    Continual,
    Matrix,
    at_matched_plasticity,
    continual,
    error_matrix,
)
from lbench.statistics.intervals import interval
from lbench.studies.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WRITTEN = 6
"""Tasks up to which each entry's number stands in it."""
Curve = dict[float, tuple[float, float]]
"""Learning error and forgetting, by learning rate."""


def figures(results: Results, _: str = "") -> list[Figure]:
    """Draw the error matrix of each rule at its best rate, and what it forgets."""
    found = [each for each in configurations(results, "tasks") if matrices(each)]
    return [_matrices(found), _plane(found)] if found else []


def forgetting(results: Results) -> Answer:
    """State what each rule forgets against the reference, where both learn a task as well."""
    recorded = configurations(results, "tasks")
    found = [each for each in recorded if matrices(each)]
    lost = [text for each in recorded if (text := _lost(each))]
    if not found:
        return Answer(f"{UNDECIDED}: no run has recorded its errors on every task.", lost)
    sentences, details = [], []
    data: list[dict[str, Any]] = []
    for place, cells in by_task(found).items():
        words, entry = _matched(place, cells, results.study.margin)
        sentences.append(words)
        data.append(entry)
        details += [_best(each) for each in best_of_each(cells)]
    details += lost
    return Answer(". ".join(map(capital, sentences)) + ".", details, {"datasets": data})


def matrices(each: Configuration) -> dict[int, Matrix]:
    """Return the error matrix of each seed, percent; of seeds whose probe ended early none."""
    found = {}
    for seed, columns in each.tables.items():
        with suppress(ValueError):
            matrix = error_matrix(columns["trained"], columns["task"], columns["error"])
            if np.isfinite(matrix).all():
                found[seed] = matrix
    return found


def along_rates(cells: Sequence[Configuration]) -> dict[str, dict[float, Configuration]]:
    """Return cells of one place by their title without their learning rate, then by the rate.

    Cells without a rate of their own stand at 0.
    """
    points = [each.line.final.point for each in cells]
    found: dict[str, dict[float, Configuration]] = {}
    for each in cells:
        point = each.line.final.point
        name = called(point, points, without=("lr",))
        found.setdefault(name, {})[float(point.settings.get("lr", 0.0))] = each
    return {name: dict(sorted(rates.items())) for name, rates in found.items()}


def in_numbers(each: Configuration) -> dict[int, Continual]:
    """Return average error, learning error, forgetting and backward transfer of each seed."""
    return {seed: continual(matrix) for seed, matrix in matrices(each).items()}


def best_of_each(found: Sequence[Configuration]) -> list[Configuration]:
    """Return of each rule on each dataset the cell of lowest average error after the last task."""
    best: dict[tuple[str, str], tuple[float, Configuration]] = {}
    for each in found:
        mine = float(np.mean([c.average_error for c in in_numbers(each).values()]))
        key = (each.task, each.line.name)
        if key not in best or mine < best[key][0]:
            best[key] = (mine, each)
    return [each for _, each in best.values()]


def _matrices(found: Sequence[Configuration]) -> Figure:
    kept = best_of_each(found)
    shown = kept[:PANELS]
    picture, axes = panels(len(shown), height=2.9)
    data = [row for each in found for row in _entries(each)]
    for panel, each in zip(axes, shown, strict=True):
        image = _matrix(panel, np.mean(list(matrices(each).values()), axis=0))
        head(panel, f"{each.title}, {each.dataset}")
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


def _plane(found: Sequence[Configuration]) -> Figure:
    curves = {place: along_rates(cells) for place, cells in by_task(found).items()}
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


def _lowest(rates: Mapping[float, Configuration]) -> float:
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


def _point(place: str, name: str, each: Configuration) -> dict[str, Any]:
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


def _entries(each: Configuration) -> list[dict[str, Any]]:
    return [
        {
            "dataset": each.dataset,
            "series": each.title,
            "seed": text(seed),
            "trained": row + 1,
            "task": column + 1,
            "error": float(value),
        }
        for seed, matrix in matrices(each).items()
        for (row, column), value in np.ndenumerate(matrix)
    ]


def curves(cells: Sequence[Configuration]) -> dict[str, dict[int, Curve]]:
    """Return the curves of cells of one place, by their title without the rate and by seed."""
    found: dict[str, dict[int, Curve]] = {}
    for name, rates in along_rates(cells).items():
        for rate, each in rates.items():
            for seed, known in in_numbers(each).items():
                if known.forgetting is not None:
                    curve = found.setdefault(name, {}).setdefault(seed, {})
                    curve[rate] = (known.learning_error, known.forgetting)
    return found


def _matched(
    place: str, cells: Sequence[Configuration], margin: float | None
) -> tuple[str, dict[str, Any]]:
    by_rule = curves(cells)
    # The lowest learning error that every rule reaches with every seed.
    target = max(
        (min(learned for learned, _ in curve.values()) for seeds in by_rule.values()
         for curve in seeds.values()),
        default=0.0,
    )  # fmt: skip
    matched = {rule: _at(seeds, target) for rule, seeds in by_rule.items()}
    reached = [rule for rule, values in matched.items() if values]
    reference = registry().reference("rules")
    first = [
        name
        for name, rates in along_rates(cells).items()
        if any(each.rule == reference for each in rates.values())
    ]
    control = next((rule for rule in [*first, *reached] if rule in reached), "")
    others = [rule for rule in matched if rule != control]
    contrasts = adjusted(
        [paired_contrast(matched[r], matched.get(control, {}), r, control, margin) for r in others]
    )
    words = f"on {place}, at a learning error of {percent(target)} %, which all rules reach: "
    words += "; ".join(_words(each, matched) for each in contrasts) or "there is one rule alone"
    data = {
        "where": place,
        "learning_error": target,
        "forgetting": {rule: dict(seeds) for rule, seeds in matched.items()},
        "contrasts": [each.as_dict() for each in contrasts],
    }
    return words, data


def _at(seeds: Mapping[int, Curve], target: float) -> dict[int, float]:
    found = {seed: at_matched_plasticity(curve, target) for seed, curve in seeds.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def _words(each: Contrast, matched: Mapping[str, Mapping[int, float]]) -> str:
    if each.points is None:
        return f"{each.name} against {each.other} is undecided, they share no seed there"
    forgot = [
        f"{rule} {percent(interval(list(matched[rule].values())).mean)}"
        for rule in (each.name, each.other)
    ]
    said = {
        "lower": f"{each.name} forgets less than {each.other}",
        "higher": f"{each.name} forgets more than {each.other}",
        "equal": f"{each.name} and {each.other} forget equally within {each.margin or 0:g} points",
        "undecided": f"whether {each.name} forgets less than {each.other} is undecided",
    }
    return f"{said[each.verdict]} ({' and '.join(forgot)} points; difference {each.numbers})"


def _best(each: Configuration) -> str:
    known = list(in_numbers(each).values())
    average = interval([c.average_error for c in known])
    learned = interval([c.learning_error for c in known])
    forgot = [c.forgetting for c in known if c.forgetting is not None]
    back = [c.backward_transfer for c in known if c.backward_transfer is not None]
    words = f"{each.title} on {each.task}: average error {percent(average.mean)} %"
    words += f" after the last task, learning error {percent(learned.mean)} %"
    if forgot and back:
        words += f", forgetting {percent(interval(forgot).mean)} points, backward transfer "
        words += f"{interval(back).mean:+.2f} points"
    return f"{words} ({len(known)} seeds; the rate with the lowest average error)."


def _lost(each: Configuration) -> str:
    """Return a sentence on the seeds that were left out; "" for none."""
    lost = [str(seed) for seed in sorted(each.tables.keys() - matrices(each).keys())]
    if not lost:
        return ""
    words = f"{each.title} on {each.task}: left out, for the errors on every task were "
    return f"{words}not recorded to the end: seed {joined(lost, most=10)}."
