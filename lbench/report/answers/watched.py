"""What probes saw of leaders and followers: whether leadership freezes, and what a step moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lbench.report.answers.answer import UNDECIDED, Answer, capital
from lbench.report.contrasts import Contrast, adjusted, of_values
from lbench.report.leading import mean_by_seed, moves, over_epochs
from lbench.report.measured import Measured, measured
from lbench.report.table import between
from lbench.statistics.intervals import Summary, interval
from lbench.study.results import Results

FROZEN = 0.9
"""Leadership counts as frozen from this Jaccard index of neighbouring epochs on."""
EARLY = 1000
"""Steps in which the paper sees large movement."""


def leaders(results: Results) -> Answer:
    """Of each block whether the same workers go on leading, and how much they do of it."""
    found = measured(results, "leaders")
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
    return Answer(". ".join(map(capital, sentences)) + ".", details, {"blocks": data})


def activity(results: Results) -> Answer:
    """How much a step moves a leader and a follower, early and late."""
    found = measured(results, "activity")
    if not found:
        return Answer(f"{UNDECIDED}: no run has recorded its workers' activity.")
    sentences, details = [], []
    data: list[dict[str, Any]] = []
    compared: list[tuple[str, Contrast]] = []
    for each in found:
        words, contrasts, more, entry = _moved(each)
        sentences.append(words)
        compared += contrasts
        details += more
        data.append(entry)
    details = [*_compared(compared), *details]
    return Answer(". ".join(map(capital, sentences)) + ".", details, {"cells": data})


def shown(summary: Summary, digits: int = 2) -> str:
    """``0.97 [0.95, 0.99]``; without an interval the mean alone."""
    if summary.low is None or summary.high is None:
        return f"{summary.mean:.{digits}f}"
    return f"{summary.mean:.{digits}f} {between(summary.low, summary.high, digits)}"


def _block(
    each: Measured, block: int, by_seed: Mapping[int, Mapping[int, Mapping[str, float]]]
) -> tuple[str, list[str], dict[str, Any]]:
    last = min(max(epochs) for epochs in by_seed.values())
    ends = [epochs[last] for epochs in by_seed.values()]
    held = interval([100 * end["held"] for end in ends])
    entropy = interval([end["entropy"] for end in ends])
    same = [end["jaccard"] for end in ends if "jaccard" in end]
    jaccard = interval(same) if same else None
    first = _frozen_from(by_seed, last)
    where = f"block {block + 1} of {each.line.title} on {each.group.where}"
    if jaccard is None:
        words = f"whether leadership freezes in {where} is undecided: it has one epoch"
    else:
        words = f"{_verdict(jaccard)} in {where}: in epoch {last} the most frequent leaders do "
        words += f"{shown(held, 1)} % of all leading, and their Jaccard index with the epoch "
        words += f"before is {shown(jaccard)} ({jaccard.n} seeds)"
        if first is not None:
            words += f"; it stays at {FROZEN:g} or above from epoch {first} on"
    details = [
        f"{capital(where)}: entropy of who leads {shown(entropy)} in epoch {last}, where 1 is all "
        "workers alike."
    ]
    data = {
        "cell": each.line.row.cell.cell_id,
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
        return "leadership freezes"
    return "leadership does not freeze" if high < FROZEN else "whether leadership freezes is open"


def _frozen_from(by_seed: Mapping[int, Mapping[int, Mapping[str, float]]], last: int) -> int | None:
    """The first epoch from which on the mean Jaccard index stays high."""
    first = None
    for epoch in range(last, 1, -1):
        values = [run[epoch]["jaccard"] for run in by_seed.values() if "jaccard" in run[epoch]]
        if not values or float(np.mean(values)) < FROZEN:
            break
        first = epoch
    return first


def _norms(each: Measured) -> list[str]:
    lead, follow = (mean_by_seed(each.tables, n) for n in ("leader_norm", "follower_norm"))
    ratios = [lead[seed] / follow[seed] for seed in lead if follow.get(seed)]
    if not ratios:
        return []
    return [
        f"{each.line.title} on {each.group.where}: a leader's gradient is "
        f"{shown(interval(ratios), 1)} times as large as a follower's ({len(ratios)} seeds)."
    ]


def _moved(
    each: Measured,
) -> tuple[str, list[tuple[str, Contrast]], list[str], dict[str, Any]]:
    """Of a cell the sentence, early and late what leaders move more, the details, the numbers."""
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
    where = f"{each.line.title} on {each.group.where}"
    words = f"{where}: "
    if ratios["early"] is None or ratios["late"] is None:
        words += "whether leaders move more than followers is undecided, for one side is empty"
    else:
        words += f"in steps 1 to {border:.0f} a leader's output moves {shown(ratios['early'])} "
        words += f"times as much as a follower's, later {shown(ratios['late'])} times"
        words += f" ({ratios['late'].n} seeds)"
    fallen = {
        who: [parts[who, "late"][s] / parts[who, "early"][s] for s in parts.get((who, "late"), {})]
        for who in ("leader", "follower")
        if parts.get((who, "early"))
    }
    said = [
        f"a {who}'s movement falls to {shown(interval([100 * v for v in values]), 0)} %"
        for who, values in fallen.items()
        if values
    ]
    if said:
        words += f"; from there to the end {' and '.join(said)}"
    contrasts = []
    for when in ("early", "late"):
        lead, follow = parts.get(("leader", when), {}), parts.get(("follower", when), {})
        told = of_values(lead, follow, "leader", "follower")
        contrasts.append((f"{where}, {when}", told))
    data = {
        "cell": each.line.row.cell.cell_id,
        "border": border,
        "moves": {f"{who} {when}": values for (who, when), values in parts.items()},
    }
    return words, contrasts, _order(runs, where, border), data


def _ratio(parts: Mapping[tuple[str, str], Mapping[int, float]], when: str) -> Summary | None:
    lead, follow = parts.get(("leader", when), {}), parts.get(("follower", when), {})
    ratios = [lead[seed] / follow[seed] for seed in lead if follow.get(seed)]
    return interval(ratios) if ratios else None


def _compared(contrasts: Sequence[tuple[str, Contrast]]) -> list[str]:
    """What leaders move more than followers; p adjusted for all cells, early and late."""
    tested = adjusted([found for _, found in contrasts])
    return [
        f"{where}: a leader moves by {found.points.mean:+.2g} more than a follower in each step "
        f"(n = {found.points.n}, p = {found.p:.2g}{' by Holm' * found.many})."
        for (where, _), found in zip(contrasts, tested, strict=True)
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
        f"{where}: the order of the workers' changes (1: all alike) is {shown(interval(early))} up "
        f"to step {border:.0f} and {shown(interval(late))} later."
    ]
