"""The probe ``activity``: how much a step changes the outputs of leaders and of followers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lbench.reporting import (
    COLOURS,
    PANELS,
    UNDECIDED,
    Answer,
    Columns,
    Configuration,
    Difference,
    Figure,
    Numbers,
    StudyData,
    Summary,
    adjusted,
    configurations,
    interval,
    legend,
    paired_difference,
    panels,
    smooth,
    spread,
    thinned,
)
from lbench_lfnn.report.vicsek import simulate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEADER, FOLLOWER = COLOURS[1], COLOURS[0]
SHARE = 60
"""A curve averages over a window of the run's steps divided by this number."""
SHOWN = 250
"""How many steps, at most, show single workers."""
EARLY = 1000
"""The number of steps in which Yin et al. 2023, Figure 5, see large changes."""
FLOCK = {"box": 5.0, "radius": 1.0, "speed": 0.03, "noise": 0.5}
"""Parameters of the Vicsek model, about those of Vicsek et al. 1995, Figure 1."""


@dataclass(frozen=True, slots=True)
class Moves:
    """Changes of workers' outputs in the steps that the probe recorded.

    Args:
        steps: (steps,).
        leaders: mean size of a leader's change, (steps,); NaN where no worker leads.
        followers: the same of followers.
        order: length of the mean change over the mean length of a change: 1 where all workers move
            alike, (steps,). None where changes have no sign.
    """

    steps: Numbers
    leaders: Numbers
    followers: Numbers
    order: Numbers | None


def figures(results: StudyData, _: str = "") -> list[Figure]:
    """Draw how much a step moves leaders and followers, beside the Vicsek model.

    There is one figure per configuration.
    """
    found = configurations(results, "activity")
    several = len(found) > 1
    return [
        _figure(each, f"activity-{number}" if several else "activity")
        for number, each in enumerate(found[:PANELS], start=1)
    ]


def analysis(results: StudyData) -> Answer:
    """State how much a step moves a leader and a follower, early and late."""
    found = configurations(results, "activity")
    if not found:
        return Answer(f"{UNDECIDED}: no run has recorded its workers' activity.")
    sentences, details = [], []
    data: list[dict[str, Any]] = []
    compared: list[tuple[str, Difference]] = []
    for each in found:
        words, differences, more, entry = _moved(each)
        sentences.append(words)
        compared += differences
        details += more
        data.append(entry)
    details = [*_compared(compared), *details]
    return Answer(". ".join(sentences) + ".", details, {"cells": data})


def moves(columns: Columns) -> Moves:
    """Return the changes of leaders and of followers in each step, over all blocks and classes."""
    rows: dict[int, list[tuple[Numbers, Numbers]]] = {}
    for step, change, leads in zip(
        columns["step"], columns["change"], columns["leads"], strict=True
    ):
        rows.setdefault(step, []).append((np.asarray(change, float), np.asarray(leads, float)))
    steps = sorted(rows)
    # A prediction of all classes has a norm and no sign. Single units have a sign, and the table
    # has a row per class.
    signed = any(label is not None for label in columns["label"])
    per_step = [_step(rows[step]) for step in steps]
    leaders, followers, order = (np.array(column, dtype=np.float64) for column in zip(
        *per_step, strict=True))  # fmt: skip
    return Moves(np.array(steps, dtype=np.float64), leaders, followers, order if signed else None)


def _step(rows: Sequence[tuple[Numbers, Numbers]]) -> tuple[float, float, float]:
    changes = np.concatenate([change for change, _ in rows])
    leads = np.concatenate([share for _, share in rows])
    order = [
        abs(change.sum()) / np.abs(change).sum() for change, _ in rows if np.abs(change).sum() > 0
    ]
    return (
        _weighted(np.abs(changes), leads),
        _weighted(np.abs(changes), 1 - leads),
        float(np.mean(order)) if order else float("nan"),
    )


def _weighted(values: Numbers, weights: Numbers) -> float:
    total = float(weights.sum())
    return float((values * weights).sum()) / total if total > 1e-9 else float("nan")


def _figure(each: Configuration, name: str) -> Figure:
    runs = [moves(columns) for columns in each.tables.values()]
    signed = runs[0].order is not None
    picture, axes = panels(4 if signed else 2, across=2, height=3.0)
    data = _both(axes[0], runs)
    data += _workers(axes[1], next(iter(each.tables.values())))
    caption = (
        f"Above left: mean size of a change, averaged over 1/{SHARE} of the steps; mean over "
        "seeds, the band from the lowest to the highest. Above right: single workers of the first "
        "seed, each point is one worker in one step."
    )
    if signed:
        data += _orders(axes[2], runs)
        data += _flock(axes[3], each, int(runs[0].steps[-1]))
        caption += (
            " Below left: length of the workers' mean change over the mean length of a change, "
            "which is 1 where all move alike. Below right: the same of headings in a Vicsek model "
            f"(box {FLOCK['box']:g}, radius {FLOCK['radius']:g}, speed {FLOCK['speed']:g}, noise "
            f"{FLOCK['noise']:g}), where leaders keep their heading."
        )
    legend(picture, axes)
    title = f"What a step moves: {each.title} on {each.task}"
    return Figure(name, title, caption, picture, data)


def _curves(
    axes: Axes, runs: Sequence[Moves], values: Sequence[Numbers], of: str, style: dict[str, Any]
) -> list[dict[str, Any]]:
    length = min(len(run.steps) for run in runs)
    curves = np.stack([smooth(v[:length], max(1, length // SHARE)) for v in values])
    kept = [at for at in thinned(length) if np.isfinite(curves[:, at]).all()]
    steps = runs[0].steps[kept]
    low, mean, high = (f(curves[:, kept], axis=0) for f in (np.min, np.mean, np.max))
    axes.plot(steps, mean, label=of, **style)
    axes.fill_between(steps, low, high, color=style["color"], alpha=0.15, linewidth=0)
    return [
        {"panel": "curves", "of": of, "step": int(s), "value": float(m), "low": float(a),
         "high": float(b)}
        for s, m, a, b in zip(steps, mean, low, high, strict=True)
    ]  # fmt: skip


def _both(axes: Axes, runs: Sequence[Moves]) -> list[dict[str, Any]]:
    data = _curves(axes, runs, [run.leaders for run in runs], "leaders", {"color": LEADER})
    style = {"color": FOLLOWER, "linestyle": "--"}
    data += _curves(axes, runs, [run.followers for run in runs], "followers", style)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("training step")
    axes.set_ylabel("mean change of a worker's output")
    return data


def _workers(axes: Axes, columns: Any) -> list[dict[str, Any]]:
    """Draw each worker of the first block and class, coloured by its role in the step."""
    block, label = columns["block"][0], columns["label"][0]
    mine = [
        at
        for at, key in enumerate(zip(columns["block"], columns["label"], strict=True))
        if key == (block, label)
    ]
    rows = [
        {"panel": "workers", "step": columns["step"][mine[at]], "worker": worker,
         "change": change, "led": led}
        for at in thinned(len(mine), SHOWN)
        for worker, (change, led) in enumerate(
            zip(columns["change"][mine[at]], columns["leads"][mine[at]], strict=True)
        )
    ]  # fmt: skip
    for leads, colour, marker in ((False, FOLLOWER, "o"), (True, LEADER, "^")):
        kept = [row for row in rows if (row["led"] > 0.5) == leads]
        # Thousands of points are a picture in the picture: as outlines they would be megabytes.
        axes.plot(
            [row["step"] for row in kept], [row["change"] for row in kept], marker,
            color=colour, markersize=2, alpha=0.4, markeredgewidth=0, rasterized=True,
        )  # fmt: skip
    of = "first block" if label is None else f"class {label}"
    axes.set_xlabel("training step")
    axes.set_ylabel(f"change of each worker, {of}")
    return rows


def _orders(axes: Axes, runs: Sequence[Moves]) -> list[dict[str, Any]]:
    values = [run.order for run in runs if run.order is not None]
    style = {"color": COLOURS[2], "linestyle": "-."}
    data = _curves(axes, runs, values, "order of the workers' changes", style)
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("training step")
    axes.set_ylabel("order (1: all alike)")
    return data


def _flock(axes: Axes, each: Configuration, last: int) -> list[dict[str, Any]]:
    """Draw the order of a Vicsek model of as many particles and leaders; and without leaders."""
    leads = next(iter(each.tables.values()))["leads"][0]
    particles, lead = len(leads), round(sum(leads))
    data = []
    for count, colour, line in ((lead, COLOURS[3], "-"), (0, COLOURS[6], ":")):
        flock = simulate(particles, min(last, 1000), leaders=count, seed=0, **FLOCK)
        name = f"Vicsek model of {particles}, {count} leading"
        axes.plot(flock.order, color=colour, linestyle=line, label=name)
        data += [
            {"panel": "flock", "of": name, "step": at, "value": float(flock.order[at])}
            for at in thinned(len(flock.order))
        ]
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("step of the model")
    axes.set_ylabel("order (1: all alike)")
    return data


def _moved(
    each: Configuration,
) -> tuple[str, list[tuple[str, Difference]], list[str], dict[str, Any]]:
    """Return the sentence, the early and late differences, details and numbers of one cell."""
    runs = {seed: moves(columns) for seed, columns in each.tables.items()}
    end = max(float(run.steps[-1]) for run in runs.values())
    border = min(EARLY, end / 2)
    parts: dict[tuple[str, str], dict[int, float]] = {}
    for seed, run in runs.items():
        for when, kept in (("early", run.steps <= border), ("late", run.steps > border)):
            for who, values in (("leader", run.leaders), ("follower", run.followers)):
                mine = values[kept & np.isfinite(values)]
                if len(mine):
                    parts.setdefault((who, when), {})[seed] = float(mine.mean())
    ratios = {when: _ratio(parts, when) for when in ("early", "late")}
    where = f"{each.title} on {each.setup}"
    words = f"{where}: "
    if ratios["early"] is None or ratios["late"] is None:
        words += "whether leaders move more than followers is undecided, for one side is empty"
    else:
        words += f"in steps 1 to {border:.0f} a leader's output moves {spread(ratios['early'])} "
        words += f"times as much as a follower's, later {spread(ratios['late'])} times"
        words += f" ({ratios['late'].n} seeds)"
    fallen = {
        who: [parts[who, "late"][s] / parts[who, "early"][s] for s in parts.get((who, "late"), {})]
        for who in ("leader", "follower")
        if parts.get((who, "early"))
    }
    said = [
        f"a {who}'s movement falls to {spread(interval([100 * v for v in values]), 0)} %"
        for who, values in fallen.items()
        if values
    ]
    if said:
        words += f"; from there to the end {' and '.join(said)}"
    differences = []
    for when in ("early", "late"):
        lead, follow = parts.get(("leader", when), {}), parts.get(("follower", when), {})
        difference = paired_difference(lead, follow, "leader", "follower")
        differences.append((f"{where}, {when}", difference))
    data = {
        "cell": each.id,
        "border": border,
        "moves": {f"{who} {when}": values for (who, when), values in parts.items()},
    }
    return words, differences, _order(runs, where, border), data


def _ratio(parts: Mapping[tuple[str, str], Mapping[int, float]], when: str) -> Summary | None:
    lead, follow = parts.get(("leader", when), {}), parts.get(("follower", when), {})
    ratios = [lead[seed] / follow[seed] for seed in lead if follow.get(seed)]
    return interval(ratios) if ratios else None


def _compared(differences: Sequence[tuple[str, Difference]]) -> list[str]:
    """Return sentences on differences, with p adjusted for all configurations, early and late."""
    tested = adjusted([found for _, found in differences])
    return [
        f"{where}: a leader moves by {found.points.mean:+.2g} more than a follower in each step "
        f"(n = {found.points.n}, {found.p_words})."
        for (where, _), found in zip(differences, tested, strict=True)
        if found.points is not None and found.p is not None
    ]


def _order(runs: Mapping[int, Any], where: str, border: float) -> list[str]:
    early: list[float] = []
    late: list[float] = []
    for run in runs.values():
        if run.order is None:
            return []
        for kept, values in ((run.steps <= border, early), (run.steps > border, late)):
            mine: Sequence[float] = run.order[kept & np.isfinite(run.order)]
            if len(mine):
                values.append(float(np.mean(mine)))
    if not early or not late:
        return []
    return [
        f"{where}: the order of the workers' changes (1: all alike) is {spread(interval(early))} "
        f"up to step {border:.0f} and {spread(interval(late))} later."
    ]
