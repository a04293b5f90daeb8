"""Leaders and followers over training: who leads, and how much both move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lbench.report.figures.figure import (
    COLOURS,
    LINES,
    PANELS,
    Figure,
    clipped,
    head,
    legend,
    look,
    panels,
)
from lbench.report.leading import Moves, counts, moves, over_epochs
from lbench.report.measured import Measured, Numbers, measured, smooth, thinned, titled
from lbench.report.vicsek import simulate
from lbench.study.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEADER, FOLLOWER = COLOURS[1], COLOURS[0]
SHARE = 60
"""Curves are averaged over this share of the steps."""
SHOWN = 250
"""Steps at which single workers are drawn."""
FLOCK = {"box": 5.0, "radius": 1.0, "speed": 0.03, "noise": 0.5}
"""Of the Vicsek model; about the density and speed of Vicsek et al. 1995, Figure 1."""
NAMES = {
    "held": "leading by the most frequent (%)",
    "entropy": "entropy of who leads (1: all alike)",
    "jaccard": "Jaccard with the epoch before",
}


def leaders(results: Results, _: str = "") -> list[Figure]:
    """How much of each epoch every worker led; and whether the same ones go on leading."""
    found = measured(results, "leaders")
    return [_heat(found), _freezing(found)] if found else []


def activity(results: Results, _: str = "") -> list[Figure]:
    """How much a step moves leaders and followers, beside a flock that copies its neighbours."""
    found = measured(results, "activity")
    several = len(found) > 1
    return [
        _activity(each, f"activity-{number}" if several else "activity")
        for number, each in enumerate(found[:PANELS], start=1)
    ]


def _heat(found: Sequence[Measured]) -> Figure:
    """Of the first seed: workers of another seed are other workers."""
    data = []
    maps: list[tuple[str, Numbers, list[int]]] = []
    for title, each in titled(found):
        seed, columns = next(iter(each.tables.items()))
        for (block, label), by_epoch in counts(columns).items():
            name = f"{title}, block {block + 1}"
            if label is not None:
                name += f", class {label}"
            epochs = sorted(by_epoch)
            matrix = 100 * np.stack([by_epoch[epoch] for epoch in epochs], axis=1)
            order = np.lexsort(matrix[:, ::-1].T[::-1])[::-1]
            maps.append((name, matrix[order], epochs))
            data += [
                {"panel": name, "seed": seed, "worker": int(w), "epoch": epoch,
                 "led": float(matrix[w, at])}
                for w in range(len(matrix))
                for at, epoch in enumerate(epochs)
            ]  # fmt: skip
    shown = maps[:PANELS]
    rows = max(len(matrix) for _, matrix, _ in shown)
    picture, axes = panels(len(shown), height=min(5.0, 1.4 + 0.09 * rows))
    for panel, (name, matrix, epochs) in zip(axes, shown, strict=True):
        image = panel.imshow(matrix, aspect="auto", cmap="cividis", vmin=0, vmax=100)
        panel.grid(visible=False)
        every = max(1, len(epochs) // 10)
        panel.set_xticks(range(0, len(epochs), every), [str(e) for e in epochs[::every]])
        panel.set_xlabel("epoch")
        panel.set_ylabel("worker, by the last epoch")
        head(panel, name)
    picture.colorbar(image, ax=axes, label="steps led (%)", shrink=0.8)
    caption = "Share of each epoch's steps that a worker led, of the first seed."
    if len(maps) > len(shown):
        caption += f" {len(maps) - len(shown)} more are in the data alone."
    return Figure("leaders", "Who leads", caption, picture, data)


def _freezing(found: Sequence[Measured]) -> Figure:
    picture, axes = panels(3, height=3.2)
    data: list[dict[str, Any]] = []
    index = 0
    for title, each in titled(found):
        by_seed = [over_epochs(columns) for columns in each.tables.values()]
        for block in sorted(by_seed[0]):
            name = f"{title}, block {block + 1}"
            for panel, measure in zip(axes, NAMES, strict=True):
                rows = _rows(by_seed, block, measure, name)
                data += rows
                if index < LINES:
                    _band(panel, rows, index, name)
            index += 1
    for panel, (measure, title) in zip(axes, NAMES.items(), strict=True):
        panel.set_ylim(0, 105 if measure == "held" else 1.05)
        panel.set_xlabel("epoch")
        panel.set_ylabel(title)
    legend(picture, axes)
    caption = (
        "Left: of all leading in an epoch, what is done by as many workers as lead at a time. "
        "Right: what these workers have in common with those of the epoch before. Mean over "
        "seeds, the band from the lowest to the highest."
    )
    if index > LINES:
        caption += f" {index - LINES} more series are in the data alone."
    return Figure("freezing", "Does leadership freeze?", caption, picture, data)


def _rows(by_seed: Sequence[Any], block: int, measure: str, name: str) -> list[dict[str, Any]]:
    epochs = sorted(set.intersection(*(set(run[block]) for run in by_seed)))
    rows = []
    for epoch in epochs:
        values = [run[block][epoch][measure] for run in by_seed if measure in run[block][epoch]]
        if values:
            scaled = [100 * value if measure == "held" else value for value in values]
            rows.append(
                {"series": name, "of": measure, "epoch": epoch, "value": float(np.mean(scaled)),
                 "low": min(scaled), "high": max(scaled), "seeds": len(scaled)}
            )  # fmt: skip
    return rows


def _band(axes: Axes, rows: Sequence[dict[str, Any]], index: int, name: str) -> None:
    at = [row["epoch"] for row in rows]
    axes.plot(at, [row["value"] for row in rows], label=clipped(name, 64), **look(index))
    low, high = [row["low"] for row in rows], [row["high"] for row in rows]
    axes.fill_between(at, low, high, color=look(index)["color"], alpha=0.15, linewidth=0)


def _activity(each: Measured, name: str) -> Figure:
    runs = [moves(columns) for columns in each.tables.values()]
    signed = runs[0].order is not None
    picture, axes = panels(4 if signed else 2, across=2, height=3.0)
    data = _both(axes[0], runs)
    data += _workers(axes[1], next(iter(each.tables.values())))
    caption = (
        f"Above left: mean size of a change, averaged over 1/{SHARE} of the steps; mean over "
        "seeds, the band from the lowest to the highest. Above right: single workers of the first "
        "seed, each point a worker in a step."
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
    title = f"What a step moves: {each.line.title} on {each.group.title}"
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
    """Every worker of the first block and class, coloured by what it was in the step."""
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


def _flock(axes: Axes, each: Measured, last: int) -> list[dict[str, Any]]:
    """As many particles as a class has workers, as many of them leading; and none."""
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
