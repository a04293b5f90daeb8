"""Numbers about leaders and followers, from what the probes ``leaders`` and ``activity`` record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lbench.report.measured import Columns, Numbers

Counts = dict[int, Numbers]
"""By epoch, how much of it each worker led: shares of its steps, (workers,)."""


@dataclass(frozen=True, slots=True)
class Moves:
    """A run's steps, as far as they were looked at.

    Args:
        steps: (steps,).
        leaders: mean size of a leader's change, (steps,); NaN where nobody leads.
        followers: the same of followers.
        order: length of the mean change over the mean length of a change: 1 where all workers move
            alike, (steps,). None where changes have no sign.
    """

    steps: Numbers
    leaders: Numbers
    followers: Numbers
    order: Numbers | None


def counts(columns: Columns) -> dict[tuple[int, int | None], Counts]:
    """Who led how much of each epoch, by block and class (None for workers of all classes)."""
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
    """Of who leads: 0 where one worker does, 1 where all do alike."""
    total = shares.sum()
    p = shares[shares > 0] / total if total else np.ones(0)
    if len(shares) < 2 or not len(p):
        return 0.0
    return float(-(p * np.log(p)).sum() / np.log(len(shares)))


def most(shares: Numbers) -> set[int]:
    """The workers that lead most, as many as lead at a time."""
    n = max(1, round(float(shares.sum())))
    return set(np.argsort(-shares, kind="stable")[:n].tolist())


def held(shares: Numbers) -> float:
    """Share of all leading that these workers do."""
    total = float(shares.sum())
    return float(shares[list(most(shares))].sum()) / total if total else 0.0


def jaccard(one: set[int], other: set[int]) -> float:
    """What two sets have in common, of all that is in either (Jaccard 1901)."""
    return len(one & other) / len(one | other)


def over_epochs(columns: Columns) -> dict[int, dict[int, dict[str, float]]]:
    """By block and epoch: ``entropy``, ``held`` and, from the second on, ``jaccard``.

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


def moves(columns: Columns) -> Moves:
    """How much leaders and followers move in each step, over all blocks and classes."""
    rows: dict[int, list[tuple[Numbers, Numbers]]] = {}
    for step, change, leads in zip(
        columns["step"], columns["change"], columns["leads"], strict=True
    ):
        rows.setdefault(step, []).append((np.asarray(change, float), np.asarray(leads, float)))
    steps = sorted(rows)
    # A prediction of all classes has a norm and no sign; single units have one, a row a class.
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


def mean_by_seed(tables: Mapping[int, Columns], name: str) -> dict[int, float]:
    """A column's mean over a run, by seed; seeds without a value are left out."""
    found = {}
    for seed, columns in tables.items():
        values = [value for value in columns[name] if value is not None]
        if values:
            found[seed] = float(np.mean(values))
    return found
