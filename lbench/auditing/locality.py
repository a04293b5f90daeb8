"""Dependence of updates on later units: locality, update locking, and the global error."""

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
"""Relative changes of the last unit, so small that a smooth error changes linearly."""
LARGE = (1.0, 10.0, 0.3)
"""Relative changes, used in turn, that also change a hard error: argmax, sign, right or wrong."""
FirstMoves = dict[tuple[str, str], int | None]
"""By (unit, later unit): the first step, from 0, at which the unit's signals moved, or None."""


@dataclass
class Locality:
    """How the updates of units depend on later units.

    Args:
        redrawn: when a unit's signals moved after a later unit's weights were redrawn before the
            first step.
        locked: by (unit, later unit), whether a unit's signals changed, or the step failed, with
            the later unit's weights NaN.
    """

    redrawn: FirstMoves = field(default_factory=dict)
    locked: dict[tuple[str, str], bool] = field(default_factory=dict)

    @property
    def shared(self) -> set[str]:
        """Return the units that several others use, each without waiting for another of them.

        An example is a head that the own loss of every block uses. It is above none of the blocks.
        """
        users: dict[str, list[str]] = {}
        for (one, later), waits in self.locked.items():
            if waits:
                users.setdefault(later, []).append(one)
        waiting = {name for names in users.values() for name in names}
        needs = {name: {u for u, names in users.items() if name in names} for name in waiting}
        shared = {unit for unit, names in users.items() if len(names) > 1}
        while wrong := {u for u in shared if any(needs[name] - shared for name in users[u])}:
            shared -= wrong
        return shared

    @property
    def waits(self) -> list[tuple[str, str]]:
        """Return the pairs of a unit and a later one above it for which it waits."""
        shared = self.shared
        return [pair for pair, waits in self.locked.items() if waits and pair[1] not in shared]

    def independent(self, one: str, other: str) -> bool:
        """Return whether the earlier of two units has an update that is independent of the other.

        The units may be given in either order.
        """
        pair = (one, other) if (one, other) in self.redrawn else (other, one)
        return pair in self.redrawn and self.redrawn[pair] is None and not self.locked[pair]


def locality(subject: Subject, rows: Sequence[int]) -> Locality:
    """Measure the signals when each later unit is redrawn and when it is NaN, in every phase.

    Args:
        rows: number of rows of each step's batch.
    """
    result = Locality()
    for phase in subject.phases:
        reference = Steps(subject, rows, phase)
        for index, later in enumerate(subject.units[1:], start=1):
            redrawn = Steps(subject, rows, phase, partial(_redraw, later))
            spoilt = cache(partial(spoil, subject, rows, phase, later))
            for unit in subject.units[:index]:
                pair = (unit.name, later.name)
                first = (at for at in range(len(rows)) if _differ(reference[at], redrawn[at], unit))
                steps = [
                    at for at in (next(first, None), result.redrawn.get(pair)) if at is not None
                ]
                result.redrawn[pair] = min(steps, default=None)
                result.locked[pair] = result.locked.get(pair, False) or any(
                    _differ(reference[at], spoilt(at), unit) for at in range(len(rows))
                )
    return result


class Steps:
    """The signals of several steps, each of which is made on first access.

    Args:
        rows: number of rows of each step's batch.
        change: called on the copy that makes the steps, before the first one.
    """

    def __init__(
        self,
        subject: Subject,
        rows: Sequence[int],
        phase: Phase | None,
        change: Callable[[SubjectReplica], None] = lambda replica: None,
    ) -> None:
        self._subject, self._rows, self._phase = subject, rows, phase
        self._replica = subject.replica()
        change(self._replica)
        self._made: list[Signals] = []

    def __getitem__(self, at: int) -> Signals:
        for index in range(len(self._made), at + 1):
            batch = self._subject.batch(index, self._rows[index])
            self._made.append(self._replica.step(index, batch, self._phase))
        return self._made[at]


def spoil(
    subject: Subject, rows: Sequence[int], phase: Phase | None, later: Unit, at: int
) -> Signals:
    """Return the signals of one step before which a unit's weights were set to NaN."""
    replica = subject.replica()
    for index in range(at):
        replica.step(index, subject.batch(index, rows[index]), phase)
    replica.put({name: torch.full_like(replica.params[name], torch.nan) for name in later.params})
    try:
        return replica.step(at, subject.batch(at, rows[at]), phase)
    except Exception:
        return Signals()  # the step needs the spoilt unit, so the units below wait for it


def _redraw(unit: Unit, replica: SubjectReplica) -> None:
    generator = torch.Generator().manual_seed(len(unit.params))
    replica.put({name: redraw(replica.params[name].detach(), generator) for name in unit.params})


def redraw(value: Tensor, generator: torch.Generator) -> Tensor:
    """Return normal numbers with the same root mean square, or 0.1 where all values are 0."""
    size = value.abs().double().square().mean().sqrt().item() or 0.1
    dtype = torch.complex128 if value.is_complex() else torch.float64
    random = torch.randn(value.shape, generator=generator, dtype=dtype)
    return (size * random).to(value)


def _differ(one: Signals, other: Signals, unit: Unit) -> bool:
    return any(moved(one.get(name), other.get(name)) for name in unit.params)


def global_error(
    subject: Subject, rows: Sequence[int], units: Sequence[Unit]
) -> tuple[str, list[str]]:
    """Measure what of the last unit's error reaches the units below.

    The last unit's weights are changed before each step, in more ways than the batch has
    examples. Where the movements of a unit's signals span more directions than there are examples,
    they cannot come from one number per example. The changes are small at first. Where these find
    no vector, larger ones also detect an error that does not react to small changes.

    Args:
        rows: number of rows of each step's batch.
        units: units in the order in which they act, without those that several of them share.

    Returns:
        ``none``, ``scalar`` or ``vector``, and the names of the units that moved.
    """
    *below, last = units
    strongest, reached = "none", []
    for phase in subject.phases:
        probe = _Errors(subject, rows, phase, last)
        kinds = dict.fromkeys((unit.name for unit in below), "none")
        responses = probe.responses(SMALL, rows[0] + 1, steps=1)
        first = {probe.kind(unit, responses) for unit in below}
        if first == {"vector"}:  # nothing can be more
            return "vector", [unit.name for unit in below]
        for factors, most in ((SMALL, 1), (LARGE, 4)):
            responses = probe.responses(factors, max(rows) + 3)
            measured = {unit.name: probe.kind(unit, responses) for unit in below}
            if most > 1 and measured != kinds:
                # A hard error has few values, so it needs more changes to span its directions.
                responses += probe.responses(factors, (most - 1) * (max(rows) + 3))
                measured = {unit.name: probe.kind(unit, responses) for unit in below}
            kinds = {name: max(kinds[name], measured[name], key=ERRORS.index) for name in measured}
            if "vector" in kinds.values():
                break
        strongest = max([strongest, *kinds.values()], key=ERRORS.index)
        reached += [name for name, kind in kinds.items() if kind != "none" and name not in reached]
    return strongest, reached


class _Errors:
    """Steps before each of which one unit is changed and all other parameters are restored."""

    def __init__(
        self, subject: Subject, rows: Sequence[int], phase: Phase | None, last: Unit
    ) -> None:
        self.subject, self.rows, self.phase, self.last = subject, rows, phase, last
        self.values, self.reference = _undisturbed(subject, rows, phase)
        self.generator = torch.Generator().manual_seed(1)

    def responses(
        self, factors: Sequence[float], count: int, steps: int | None = None
    ) -> list[list[Signals]]:
        """Return the signals of all or the first steps, by change, under changes of these sizes."""
        return [self._response(factors[i % len(factors)], steps) for i in range(count)]

    def _response(self, factor: float, steps: int | None) -> list[Signals]:
        replica = self.subject.replica()
        signals = []
        for index, count in enumerate(self.rows[:steps]):
            replica.put(self.values[index])
            own = {name: self.values[index][name] for name in self.last.params}
            replica.put({n: v + factor * redraw(v, self.generator) for n, v in own.items()})
            signals.append(replica.step(index, self.subject.batch(index, count), self.phase))
        return signals

    def kind(self, unit: Unit, responses: list[list[Signals]]) -> str:
        """Return what reached a unit at any of the steps."""
        made = enumerate(self.rows[: len(responses[0])])
        kinds = [_kind(unit, self.reference, responses, at, count) for at, count in made]
        return max(kinds, key=ERRORS.index)


def _undisturbed(
    subject: Subject, rows: Sequence[int], phase: Phase | None
) -> tuple[list[dict[str, Tensor]], list[Signals]]:
    """Return the trained parameters before each step, and the signals of each step."""
    replica = subject.replica()
    values, signals = [], []
    for index, count in enumerate(rows):
        values.append(replica.values())
        signals.append(replica.step(index, subject.batch(index, count), phase))
    return values, signals


def _kind(
    unit: Unit, reference: list[Signals], responses: list[list[Signals]], at: int, rows: int
) -> str:
    want = _flat(reference[at], unit)
    signals = [_flat(response[at], unit) for response in responses]
    if any(signal.shape != want.shape for signal in signals):
        return "vector"
    if not len(want):
        return "none"
    directions = rank(torch.stack(signals) - want, 1e-12 * float(want.norm())).directions
    return "none" if directions == 0 else "scalar" if directions <= rows else "vector"


def _flat(signals: Signals, unit: Unit) -> Tensor:
    vectors = [signal.flatten() for name in unit.params for signal in signals.get(name, [])]
    return torch.cat(vectors) if vectors else torch.zeros(0, dtype=torch.float64)
