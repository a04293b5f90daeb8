"""The probe ``leaders``: how much each worker led, and whether the same ones go on leading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lbench.reporting import (
    LINES,
    PANELS,
    UNDECIDED,
    Answer,
    Columns,
    Configuration,
    Figure,
    Numbers,
    StudyData,
    Summary,
    clipped,
    configurations,
    head,
    interval,
    legend,
    look,
    panels,
    spread,
    with_unique_titles,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FROZEN = 0.9
"""Leadership is called frozen at this Jaccard index of neighbouring epochs and above."""
NAMES = {
    "held": "leading by the most frequent (%)",
    "entropy": "entropy of who leads (1: all alike)",
    "jaccard": "Jaccard with the epoch before",
}
Counts = dict[int, Numbers]
"""By epoch, the share of its steps that each worker led, (workers,)."""


def figures(results: StudyData, _: str = "") -> list[Figure]:
    """Draw how much of each epoch every worker led, and whether the same ones go on leading."""
    found = configurations(results, "leaders")
    return [_heat(found), _freezing(found)] if found else []


def analysis(results: StudyData) -> Answer:
    """State of each block whether the same workers go on leading, and how much they do of it."""
    found = configurations(results, "leaders")
    if not found:
        return Answer(f"{UNDECIDED}: no run has recorded its leaders.")
    sentences, details = [], []
    data: list[dict[str, Any]] = []
    for each in found:
        by_seed = {seed: over_epochs(columns) for seed, columns in each.tables.items()}
        for block in sorted(next(iter(by_seed.values()))):
            words, more, entry = _block(each, block, {s: r[block] for s, r in by_seed.items()})
            sentences.append(words)
            details += more
            data.append(entry)
        details += _norms(each)
    return Answer(". ".join(sentences) + ".", details, {"blocks": data})


def counts(columns: Columns) -> dict[tuple[int, int | None], Counts]:
    """Return the share of each epoch that each worker led, by block and class (None for all)."""
    sums: dict[tuple[int, int | None], dict[int, list[Any]]] = {}
    rows = zip(columns["block"], columns["label"], columns["epoch"], columns["leads"], strict=True)
    for block, label, epoch, leads in rows:
        mine = sums.setdefault((block, label), {})
        entry = mine.setdefault(epoch, [np.zeros(len(leads)), 0])
        entry[0] += np.asarray(leads, dtype=np.float64)
        entry[1] += 1
    return {
        key: {epoch: total / steps for epoch, (total, steps) in epochs.items()}
        for key, epochs in sums.items()
    }


def entropy(shares: Numbers) -> float:
    """Return the entropy of who leads: 0 where one worker does, 1 where all do alike."""
    total = shares.sum()
    p = shares[shares > 0] / total if total else np.ones(0)
    if len(shares) < 2 or not len(p):
        return 0.0
    return float(-(p * np.log(p)).sum() / np.log(len(shares)))


def most(shares: Numbers) -> set[int]:
    """Return the indices of the workers that lead most, as many as lead at a time."""
    n = max(1, round(float(shares.sum())))
    return set(np.argsort(-shares, kind="stable")[:n].tolist())


def held(shares: Numbers) -> float:
    """Return the share of all leading that the workers of :func:`most` do."""
    total = float(shares.sum())
    return float(shares[list(most(shares))].sum()) / total if total else 0.0


def jaccard(one: set[int], other: set[int]) -> float:
    """Return the Jaccard index of two sets: common elements over all elements (Jaccard 1901)."""
    return len(one & other) / len(one | other)


def over_epochs(columns: Columns) -> dict[int, dict[int, dict[str, float]]]:
    """Return by block and epoch ``entropy``, ``held`` and, from the second on, ``jaccard``.

    Of classes with workers of their own the mean.
    """
    found: dict[int, dict[int, dict[str, list[float]]]] = {}
    for (block, _), by_epoch in counts(columns).items():
        before: set[int] | None = None
        for epoch, shares in sorted(by_epoch.items()):
            now = most(shares)
            entry = found.setdefault(block, {}).setdefault(epoch, {})
            entry.setdefault("entropy", []).append(entropy(shares))
            entry.setdefault("held", []).append(held(shares))
            if before is not None:
                entry.setdefault("jaccard", []).append(jaccard(before, now))
            before = now
    return {
        block: {
            epoch: {name: float(np.mean(values)) for name, values in entry.items()}
            for epoch, entry in epochs.items()
        }
        for block, epochs in found.items()
    }


def mean_by_seed(tables: Mapping[int, Columns], name: str) -> dict[int, float]:
    """Return a column's mean over a run by seed; seeds without a value are left out."""
    found = {}
    for seed, columns in tables.items():
        values = [value for value in columns[name] if value is not None]
        if values:
            found[seed] = float(np.mean(values))
    return found


def _heat(found: Sequence[Configuration]) -> Figure:
    """Draw the first seed alone: workers of another seed are other workers."""
    data = []
    maps: list[tuple[str, Numbers, list[int]]] = []
    for title, each in with_unique_titles(found):
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


def _freezing(found: Sequence[Configuration]) -> Figure:
    picture, axes = panels(3, height=3.2)
    data: list[dict[str, Any]] = []
    index = 0
    for title, each in with_unique_titles(found):
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


def _block(
    each: Configuration, block: int, by_seed: Mapping[int, Mapping[int, Mapping[str, float]]]
) -> tuple[str, list[str], dict[str, Any]]:
    last = min(max(epochs) for epochs in by_seed.values())
    ends = [epochs[last] for epochs in by_seed.values()]
    held = interval([100 * end["held"] for end in ends])
    entropy = interval([end["entropy"] for end in ends])
    same = [end["jaccard"] for end in ends if "jaccard" in end]
    jaccard = interval(same) if same else None
    first = _frozen_from(by_seed, last)
    number = f"{block + 1} of {each.title} on {each.setup}"
    if jaccard is None:
        words = f"Whether leadership freezes in block {number} is undecided: it has one epoch"
    else:
        words = f"{_verdict(jaccard)} in block {number}: in epoch {last} the most frequent leaders "
        words += f"do {spread(held, 1)} % of all leading, and their Jaccard index with the epoch "
        words += f"before is {spread(jaccard)} ({jaccard.n} seeds)"
        if first is not None:
            words += f"; it stays at {FROZEN:g} or above from epoch {first} on"
    details = [
        f"Block {number}: entropy of who leads {spread(entropy)} in epoch {last}, where 1 is all "
        "workers alike."
    ]
    data = {
        "cell": each.id,
        "block": block,
        "epoch": last,
        "held": held.as_dict(),
        "jaccard": jaccard and jaccard.as_dict(),
        "entropy": entropy.as_dict(),
        "frozen_from": first,
    }
    return words, details, data


def _verdict(jaccard: Summary) -> str:
    low = jaccard.mean if jaccard.low is None else jaccard.low
    high = jaccard.mean if jaccard.high is None else jaccard.high
    if low >= FROZEN:
        return "Leadership freezes"
    return "Leadership does not freeze" if high < FROZEN else "Whether leadership freezes is open"


def _frozen_from(by_seed: Mapping[int, Mapping[int, Mapping[str, float]]], last: int) -> int | None:
    """Return the first epoch from which the mean Jaccard index stays high; None for none."""
    first = None
    for epoch in range(last, 1, -1):
        values = [run[epoch]["jaccard"] for run in by_seed.values() if "jaccard" in run[epoch]]
        if not values or float(np.mean(values)) < FROZEN:
            break
        first = epoch
    return first


def _norms(each: Configuration) -> list[str]:
    lead, follow = (mean_by_seed(each.tables, n) for n in ("leader_norm", "follower_norm"))
    ratios = [lead[seed] / follow[seed] for seed in lead if follow.get(seed)]
    if not ratios:
        return []
    return [
        f"{each.title} on {each.setup}: a leader's gradient is "
        f"{spread(interval(ratios), 1)} times as large as a follower's ({len(ratios)} seeds)."
    ]
