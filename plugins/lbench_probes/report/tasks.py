"""The probe ``tasks``: the error matrix of a sequence of tasks, and what rules forget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from lbench.reporting import (
    PANELS,
    UNDECIDED,
    Answer,
    Configuration,
    Difference,
    Figure,
    StudyData,
    Summary,
    adjusted,
    by_task,
    capital,
    clipped,
    configurations,
    few,
    head,
    interval,
    joined,
    left_out,
    look,
    paired_difference,
    panel_figure,
    panels,
    percent,
    text,
    titles_without,
)
from lbench_probes.continual import (
    Continual,
    Matrix,
    at_matched_plasticity,
    continual,
    error_matrix,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WRITTEN = 6
"""Tasks up to which each entry of a matrix has its number."""
Curve = dict[float, tuple[float, float]]
"""Learning error and forgetting, by learning rate."""
Rates = dict[float, Configuration]


def figures(results: StudyData, _: str = "") -> list[Figure]:
    """Draw the error matrix of each rule at its best rate, and what it forgets."""
    listed = [entry for entry in configurations(results, "tasks") if matrices(entry)]
    return [_matrices(listed), *_plane(listed)] if listed else []


def forgetting(results: StudyData) -> Answer:
    """State what each rule forgets against the reference, at equal learning errors."""
    recorded = configurations(results, "tasks")
    complete = [entry for entry in recorded if matrices(entry)]
    lost = [text for entry in recorded if (text := _lost(entry))]
    if not complete:
        return Answer(f"{UNDECIDED}: no run has recorded its errors on every task.", lost)
    sentences, details = [], []
    data: list[dict[str, Any]] = []
    for task, listed in by_task(complete).items():
        words, numbers = _matched(task, listed, results.margin)
        sentences.append(words)
        data.append(numbers)
        details += [_best(entry) for entry in best_of_each(listed)]
    details += lost
    return Answer(". ".join(map(capital, sentences)) + ".", details, {"datasets": data})


def matrices(entry: Configuration) -> dict[int, Matrix]:
    """Return the complete error matrices by seed, percent."""
    found = {}
    for seed, columns in entry.tables.items():
        with suppress(ValueError):
            matrix = error_matrix(columns["trained"], columns["task"], columns["error"])
            if np.isfinite(matrix).all():
                found[seed] = matrix
    return found


def along_rates(listed: Sequence[Configuration]) -> dict[str, Rates]:
    """Return configurations of a task by their title without learning rate, then by the rate.

    The key of configurations without a rate of their own is 0.
    """
    found: dict[str, Rates] = {}
    for name, entry in titles_without(listed, "lr"):
        found.setdefault(name, {})[float(entry.settings.get("lr", 0.0))] = entry
    return {name: dict(sorted(rates.items())) for name, rates in found.items()}


def in_numbers(entry: Configuration) -> dict[int, Continual]:
    """Return average error, learning error, forgetting and backward transfer of each seed."""
    return {seed: continual(matrix) for seed, matrix in matrices(entry).items()}


def best_of_each(listed: Sequence[Configuration]) -> list[Configuration]:
    """Return the configuration of lowest average error after the last task, per task and rule."""
    best: dict[tuple[str, str], Configuration] = {}
    for entry in sorted(listed, key=_average_error):
        best.setdefault((entry.task, entry.name), entry)
    order = dict.fromkeys((entry.task, entry.name) for entry in listed)
    return [best[key] for key in order]


def curves(listed: Sequence[Configuration]) -> dict[str, dict[int, Curve]]:
    """Return the curves of configurations of a task, by title without the rate and by seed."""
    found: dict[str, dict[int, Curve]] = {}
    for name, rates in along_rates(listed).items():
        for rate, entry in rates.items():
            for seed, known in in_numbers(entry).items():
                if known.forgetting is not None:
                    curve = found.setdefault(name, {}).setdefault(seed, {})
                    curve[rate] = (known.learning_error, known.forgetting)
    return found


def _average_error(entry: Configuration) -> float:
    """Return the average error after the last task, mean over seeds."""
    return float(np.mean([known.average_error for known in in_numbers(entry).values()]))


def _lowest(rates: Rates) -> float:
    return min(map(_average_error, rates.values()))


def _over_seeds(
    entry: Configuration, number: Callable[[Continual], float | None], step: float = 0.0
) -> Summary | None:
    values = [v for known in in_numbers(entry).values() if (v := number(known)) is not None]
    return interval(values, step) if values else None


def _matrices(listed: Sequence[Configuration]) -> Figure:
    best = best_of_each(listed)
    shown = best[:PANELS]
    picture, axes = panels(len(shown), height=2.9)
    for panel, entry in zip(axes, shown, strict=True):
        image = _matrix(panel, np.mean(list(matrices(entry).values()), axis=0))
        head(panel, f"{entry.title}, {entry.dataset}")
    picture.colorbar(image, ax=axes, label="error (%)", shrink=0.8)
    caption = (
        "Row: the number of tasks that were learned; column: the task that is tested; mean over "
        "seeds. Right of the diagonal a task has not been learned yet. Each rule is shown at the "
        "learning rate with the lowest average error after the last task."
    )
    if len(best) > len(shown):
        caption += f" {len(best) - len(shown)} more are in the data alone."
    data = [row for entry in listed for row in _entries(entry)]
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
            # Light on dark and dark on light: cividis is dark up to about half way.
            axes.text(
                column, row, f"{value:.0f}", ha="center", va="center", fontsize=8,
                color="#ffffff" if value < 55 else "#000000",
            )  # fmt: skip
    return image


def _plane(listed: Sequence[Configuration]) -> list[Figure]:
    rules = {task: along_rates(entries) for task, entries in by_task(listed).items()}
    shown = {
        task: dict(few(list(by_name.items()), lambda pair: _lowest(pair[1])))
        for task, by_name in rules.items()
    }
    names = list(dict.fromkeys(name for by_name in shown.values() for name in by_name))
    points = {
        (task, name): [row for entry in rates.values()
                       if (row := _point(task, name, entry))["forgetting"] is not None]
        for task, by_name in rules.items()
        for name, rates in by_name.items()
    }  # fmt: skip

    def draw(panel: Axes, task: str) -> None:
        for name in shown[task]:
            if rows := points[task, name]:
                _path(panel, rows, look(names.index(name)), name)
        panel.set_xlabel("learning error (%)")
        panel.set_ylabel("forgetting (points)")

    caption = (
        "Learning error: mean error on each task just after it was learned; forgetting: the rise "
        "of its error from the lowest to the end. Each line follows the learning rates from the "
        "smallest (small marker) to the largest; at the same learning error, the lower line "
        "forgets less. Bars: 95 % t intervals over seeds."
    )
    caption += left_out(
        sum(map(len, rules.values())) - sum(map(len, shown.values())), "average error"
    )
    data = [row for rows in points.values() for row in rows]
    title, contents = "Forgetting at equal learning", [(task, task) for task in rules]
    return panel_figure("plasticity", title, caption, contents, draw, data, height=3.4, across=2)


def _path(axes: Axes, rows: Sequence[dict[str, Any]], style: dict[str, Any], name: str) -> None:
    at, height = [r["learning_error"] for r in rows], [r["forgetting"] for r in rows]
    colour = {"color": style["color"]}
    axes.plot(at, height, linewidth=1.2, linestyle=style["linestyle"], **colour)
    axes.plot([], [], label=clipped(name), **style)
    for index, (row, x, y) in enumerate(zip(rows, at, height, strict=True)):
        axes.plot([x], [y], marker=style["marker"], markersize=3.5 + 1.2 * index, **colour)
        if row["forgetting_low"] is not None:
            ends = [row["forgetting_low"], row["forgetting_high"]]
            axes.plot([x, x], ends, linewidth=1, alpha=0.6, **colour)


def _point(task: str, name: str, entry: Configuration) -> dict[str, Any]:
    learned = _over_seeds(entry, lambda known: known.learning_error)
    average = _over_seeds(entry, lambda known: known.average_error)
    forgot = _over_seeds(entry, lambda known: known.forgetting, entry.resolution)
    back = _over_seeds(entry, lambda known: known.backward_transfer)
    return {
        "panel": task,
        "series": name,
        "settings": entry.title.removeprefix(entry.name).strip(),
        "learning_error": learned and learned.mean,
        "forgetting": forgot and forgot.mean,
        "forgetting_low": forgot and forgot.low,
        "forgetting_high": forgot and forgot.high,
        "average_error": average and average.mean,
        "backward_transfer": back and back.mean,
        "seeds": len(matrices(entry)),
    }


def _entries(entry: Configuration) -> list[dict[str, Any]]:
    return [
        {
            "dataset": entry.dataset,
            "series": entry.title,
            "seed": text(seed),
            "trained": row + 1,
            "task": column + 1,
            "error": float(value),
        }
        for seed, matrix in matrices(entry).items()
        for (row, column), value in np.ndenumerate(matrix)
    ]


def _matched(
    task: str, listed: Sequence[Configuration], margin: float | None
) -> tuple[str, dict[str, Any]]:
    by_rule = curves(listed)
    # The lowest learning error that every rule reaches with every seed.
    reached = [curve for seeds in by_rule.values() for curve in seeds.values()]
    target = max((min(learned for learned, _ in curve.values()) for curve in reached), default=0.0)
    matched = {rule: _at(seeds, target) for rule, seeds in by_rule.items()}
    control = _control(listed, [rule for rule, values in matched.items() if values])
    differences = adjusted(
        [
            paired_difference(values, matched.get(control, {}), rule, control, margin)
            for rule, values in matched.items()
            if rule != control
        ]
    )
    words = f"on {task}, at a learning error of {percent(target)} %, which all rules reach: "
    words += "; ".join(_words(entry, matched) for entry in differences) or "there is only one rule"
    data = {
        "where": task,
        "learning_error": target,
        "forgetting": {rule: dict(seeds) for rule, seeds in matched.items()},
        "differences": [entry.as_dict() for entry in differences],
    }
    return words, data


def _control(listed: Sequence[Configuration], reached: Iterable[str]) -> str:
    """Return the title of the reference rule, or else of the first rule; "" for none."""
    names = list(reached)
    first = [
        name
        for name, rates in along_rates(listed).items()
        if any(entry.is_reference for entry in rates.values())
    ]
    return next((rule for rule in [*first, *names] if rule in names), "")


def _at(seeds: Mapping[int, Curve], target: float) -> dict[int, float]:
    found = {seed: at_matched_plasticity(curve, target) for seed, curve in seeds.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def _words(entry: Difference, matched: Mapping[str, Mapping[int, float]]) -> str:
    name, other = entry.name, entry.other
    if entry.points is None:
        return f"{name} against {other} is undecided, they share no seed there"
    forgot = [
        f"{rule} {percent(interval(list(matched[rule].values())).mean)}" for rule in (name, other)
    ]
    said = {
        "lower": f"{name} forgets less than {other}",
        "higher": f"{name} forgets more than {other}",
        "equal": f"{name} and {other} forget equally within {entry.margin or 0:g} points",
        "undecided": f"whether {name} forgets less than {other} is undecided",
    }
    return f"{said[entry.verdict]} ({' and '.join(forgot)} points; difference {entry.numbers})"


def _best(entry: Configuration) -> str:
    learned = interval([known.learning_error for known in in_numbers(entry).values()])
    forgot = _over_seeds(entry, lambda known: known.forgetting)
    back = _over_seeds(entry, lambda known: known.backward_transfer)
    words = f"{entry.title} on {entry.task}: average error {percent(_average_error(entry))} %"
    words += f" after the last task, learning error {percent(learned.mean)} %"
    if forgot and back:
        words += f", forgetting {percent(forgot.mean)} points, backward transfer "
        words += f"{back.mean:+.2f} points"
    return f"{words} ({len(matrices(entry))} seeds; the rate with the lowest average error)."


def _lost(entry: Configuration) -> str:
    """Return a sentence on the seeds that were left out; "" for none."""
    lost = [str(seed) for seed in sorted(entry.tables.keys() - matrices(entry).keys())]
    if not lost:
        return ""
    words = f"{entry.title} on {entry.task}: left out, because the errors on every task were "
    return f"{words}not recorded to the end: seed {joined(lost, most=10)}."
