"""Which units an update depends on, whether it waits for them, and what of the error reaches it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import torch
from torch import Tensor

from lbench.auditing.movement import rank
from lbench.auditing.subject import Signals, Subject, SubjectReplica, Unit, moved
from lbench.step import Phase

ERRORS = ("none", "scalar", "vector")
SMALL = (1e-2,)
"""Relative change of the last unit, so small that a smooth error changes linearly."""
LARGE = (1.0, 10.0, 0.3)
"""The same in turn, so that a hard error changes too: an argmax, a sign, whether it was right."""
Matrix = dict[tuple[str, str], int | None]
"""By (unit, later unit): the first step, from 0, at which the unit's signals moved; or None."""


@dataclass
class Locality:
    """What was found.

    Args:
        redrawn: a later unit's weights were redrawn before the first step.
        locked: a later unit's weights were NaN; whether the signals below changed or a step failed.
    """

    redrawn: Matrix = field(default_factory=dict)
    locked: dict[tuple[str, str], bool] = field(default_factory=dict)

    @property
    def shared(self) -> set[str]:
        """Units that several others use, each without waiting for another of them.

        Such a unit is above none of its users: a head that every block's own loss passes through.
        """
        users: dict[str, list[str]] = {}
        for (one, later), waits in self.locked.items():
            if waits:
                users.setdefault(later, []).append(one)
        waiting = {name for names in users.values() for name in names}
        needs = {name: {u for u, names in users.items() if name in names} for name in waiting}
        found = {unit for unit, names in users.items() if len(names) > 1}
        while wrong := {u for u in found if any(needs[name] - found for name in users[u])}:
            found -= wrong
        return found

    @property
    def waits(self) -> list[tuple[str, str]]:
        """Pairs of a unit and a later one above it for which it waits."""
        shared = self.shared
        return [pair for pair, waits in self.locked.items() if waits and pair[1] not in shared]

    def apart(self, one: str, other: str) -> bool:
        """Whether the update of the earlier of two units depends on the later one in no way."""
        pair = (one, other) if (one, other) in self.redrawn else (other, one)
        return pair in self.redrawn and self.redrawn[pair] is None and not self.locked[pair]


def locality(subject: Subject, rows: Sequence[int]) -> Locality:
    """Redraws and spoils each later unit, in every phase.

    Args:
        rows: of each step's batch.
    """
    found = Locality()
    for phase in subject.phases:
        reference = Steps(subject, rows, phase)
        for index, later in enumerate(subject.units[1:], start=1):
            redrawn = Steps(subject, rows, phase, partial(_redraw, later))
            spoilt = cache(partial(spoil, subject, rows, phase, later))
            for unit in subject.units[:index]:
                pair = (unit.name, later.name)
                first = (at for at in range(len(rows)) if _differ(reference[at], redrawn[at], unit))
                steps = [
                    at for at in (next(first, None), found.redrawn.get(pair)) if at is not None
                ]
                found.redrawn[pair] = min(steps, default=None)
                found.locked[pair] = found.locked.get(pair, False) or any(
                    _differ(reference[at], spoilt(at), unit) for at in range(len(rows))
                )
    return found


class Steps:
    """The signals of some steps, each made when it is first asked for.

    Args:
        rows: of each step's batch.
        change: of the copy that makes the steps, before the first one.
    """

    def __init__(
        self,
        subject: Subject,
        rows: Sequence[int],
        phase: Phase | None,
        change: Callable[[SubjectReplica], None] = lambda replica: None,
    ) -> None:
        self._subject, self._rows, self._phase = subject, rows, phase
        self._trial = subject.replica()
        change(self._trial)
        self._made: list[Signals] = []

    def __getitem__(self, at: int) -> Signals:
        for index in range(len(self._made), at + 1):
            batch = self._subject.batch(index, self._rows[index])
            self._made.append(self._trial.step(index, batch, self._phase))
        return self._made[at]


def spoil(
    subject: Subject, rows: Sequence[int], phase: Phase | None, later: Unit, at: int
) -> Signals:
    """The signals of one step before which a unit's weights became NaN."""
    replica = subject.replica()
    for index in range(at):
        replica.step(index, subject.batch(index, rows[index]), phase)
    replica.put({name: torch.full_like(replica.params[name], torch.nan) for name in later.params})
    try:
        return replica.step(at, subject.batch(at, rows[at]), phase)
    except Exception:
        return Signals()  # it cannot do without the spoilt unit, so it waits for it


def _redraw(unit: Unit, replica: SubjectReplica) -> None:
    generator = torch.Generator().manual_seed(len(unit.params))
    replica.put({name: redraw(replica.params[name].detach(), generator) for name in unit.params})


def redraw(value: Tensor, generator: torch.Generator) -> Tensor:
    """Normal numbers of the same mean square; of 0.1 where all are 0."""
    size = value.abs().double().square().mean().sqrt().item() or 0.1
    dtype = torch.complex128 if value.is_complex() else torch.float64
    random = torch.randn(value.shape, generator=generator, dtype=dtype)
    return (size * random).to(value)


def _differ(one: Signals, other: Signals, unit: Unit) -> bool:
    return any(moved(one.get(name), other.get(name)) for name in unit.params)


def global_error(
    subject: Subject, rows: Sequence[int], units: Sequence[Unit]
) -> tuple[str, list[str]]:
    """What of the last unit's error reaches the units below, and which of them.

    The last unit's weights are changed before each step, in more ways than the batch has
    examples: where the movements of a unit's signals span more directions than that, no number an
    example carries them. The changes are small at first. Where they find no vector, large ones
    look for an error that small changes leave as it is.

    Args:
        rows: of each step's batch.
        units: in the order in which they act, without those that several of them share.

    Returns:
        none, scalar or vector; the units that moved.
    """
    *below, last = units
    strongest, reached = "none", []
    for phase in subject.phases:
        probe = _Errors(subject, rows, phase, last)
        kinds = dict.fromkeys((unit.name for unit in below), "none")
        looks = probe.looks(SMALL, rows[0] + 1, steps=1)
        first = {probe.kind(unit, looks) for unit in below}
        if first == {"vector"}:  # nothing can be more
            return "vector", [unit.name for unit in below]
        for factors, most in ((SMALL, 1), (LARGE, 4)):
            looks = probe.looks(factors, max(rows) + 3)
            found = {unit.name: probe.kind(unit, looks) for unit in below}
            if most > 1 and any(found[name] != kinds[name] for name in found):
                # A hard error takes few values: it needs more changes to span its directions.
                looks += probe.looks(factors, (most - 1) * (max(rows) + 3))
                found = {unit.name: probe.kind(unit, looks) for unit in below}
            kinds = {name: max(kinds[name], found[name], key=ERRORS.index) for name in found}
            if "vector" in kinds.values():
                break
        strongest = max([strongest, *kinds.values()], key=ERRORS.index)
        reached += [name for name, kind in kinds.items() if kind != "none" and name not in reached]
    return strongest, reached


class _Errors:
    """Steps before each of which one unit is changed and all else is put back."""

    def __init__(
        self, subject: Subject, rows: Sequence[int], phase: Phase | None, last: Unit
    ) -> None:
        self.subject, self.rows, self.phase, self.last = subject, rows, phase, last
        self.values, self.reference = _remembered(subject, rows, phase)
        self.generator = torch.Generator().manual_seed(1)

    def looks(
        self, factors: Sequence[float], count: int, steps: int | None = None
    ) -> list[list[Signals]]:
        """Return the signals of all steps, or of the first ones, under changes of these sizes."""
        return [self._look(factors[i % len(factors)], steps) for i in range(count)]

    def _look(self, factor: float, steps: int | None) -> list[Signals]:
        replica = self.subject.replica()
        look = []
        for index, count in enumerate(self.rows[:steps]):
            replica.put(self.values[index])
            own = {name: self.values[index][name] for name in self.last.params}
            replica.put({n: v + factor * redraw(v, self.generator) for n, v in own.items()})
            look.append(replica.step(index, self.subject.batch(index, count), self.phase))
        return look

    def kind(self, unit: Unit, looks: list[list[Signals]]) -> str:
        """What reached a unit at any of the steps."""
        made = enumerate(self.rows[: len(looks[0])])
        kinds = [_kind(unit, self.reference, looks, at, count) for at, count in made]
        return max(kinds, key=ERRORS.index)


def _remembered(
    subject: Subject, rows: Sequence[int], phase: Phase | None
) -> tuple[list[dict[str, Tensor]], list[Signals]]:
    """Trained parameters before each step, and its signals."""
    replica = subject.replica()
    values, signals = [], []
    for index, count in enumerate(rows):
        values.append(replica.values())
        signals.append(replica.step(index, subject.batch(index, count), phase))
    return values, signals


def _kind(
    unit: Unit, reference: list[Signals], looks: list[list[Signals]], at: int, rows: int
) -> str:
    want = _flat(reference[at], unit)
    got = [_flat(look[at], unit) for look in looks]
    if any(each.shape != want.shape for each in got):
        return "vector"
    if not len(want):
        return "none"
    directions = rank(torch.stack(got) - want, 1e-12 * float(want.norm()))
    return "none" if directions == 0 else "scalar" if directions <= rows else "vector"


def _flat(signals: Signals, unit: Unit) -> Tensor:
    told = [each.flatten() for name in unit.params for each in signals.get(name, [])]
    return torch.cat(told) if told else torch.zeros(0, dtype=torch.float64)
