"""The short form of the audit: one step of a run in progress, made on copies of its rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lbench.auditing.conduct import observed
from lbench.auditing.locality import redraw
from lbench.auditing.maps import Map, layers
from lbench.auditing.perturbation import LayerPerturbation, Reference
from lbench.auditing.rule_subject import RuleSubject
from lbench.auditing.schedule import StepPosition
from lbench.auditing.subject import Signals, Unit
from lbench.auditing.use_tracer import UseTracer, tracing
from lbench.auditing.uses import CannotHoldError
from lbench.randomness import Randomness
from lbench.rule import Rule
from lbench.step import Phase
from lbench.task import Batch


@dataclass(frozen=True, slots=True)
class Glance:
    """What was observed in one step.

    Args:
        step: index of the step, from 0.
        cut: the unit from which on all units were redrawn in a copy; empty where none was. Where
            nothing moved, all units above the first one may have been redrawn in another copy.
        moved: units below the cut whose update changed with this.
        writes: parameters that changed outside of an update, in words.
        generators: global generators that were drawn from.
        changed: a layer whose weights were changed while its outputs were held; empty where none
            was.
        follows: layers whose update changed with these weights.
    """

    step: int
    cut: str
    moved: tuple[str, ...]
    writes: tuple[str, ...]
    generators: tuple[str, ...]
    changed: str = ""
    follows: tuple[str, ...] = ()


def glance(
    rule: Rule, batch: Batch, position: StepPosition, phase: Phase | None, seed: int
) -> Glance:
    """Make one step on copies of the rule, unchanged and with changes that its claims exclude.

    Where the rule claims that blocks do not depend on later ones, all weights from a random unit
    on are redrawn. Where it claims that no transposed weights reach an update, the weights of a
    random layer are changed while its outputs are held; at the end of an epoch the next step is
    made too, since it shows what was copied there. Where a rule claims both, one of the two is
    chosen at random. On a device whose kernels are not deterministic, a signal counts as moved
    where it differs by more than two equal copies do.

    Args:
        batch: the trainer's batch, before the rule prepares it.
        position: position of the step in the run.
        phase: phase of training.
        seed: seed of the run.
    """
    claims = type(rule).claims(rule.config, rule.network).as_dict()
    cut, moved = "", tuple[str, ...]()
    changed, follows = "", tuple[str, ...]()
    redraws, holds = independent(claims), claims["transport"] == "none"
    generator = Randomness(seed).generator("audit/cut", position.index)
    if redraws and holds:  # both together would take too long
        holds = bool(torch.randint(2, (), generator=generator))
        redraws = not holds
    observation = _ObservedStep(rule, batch, position, phase, seed, generator, traced=holds)
    if holds:
        changed, follows = observation.changed()
    units = observation.subject.units
    if redraws and len(units) > 1:
        for at in dict.fromkeys((observation.draw(1, len(units)), 1)):
            names = observation.moving(units[at:])
            if names and not _shared(units, names, observation.moving):
                cut, moved = units[at].name, tuple(u.name for u in units[:at] if u.name in names)
                break
            cut = cut or units[at].name
    label, conduct = observation.subject.label, observation.replica.conduct
    return Glance(
        position.index,
        cut,
        moved,
        tuple(f"{label(n)} was changed {when}" for n, when in conduct.writes),
        tuple(sorted(conduct.generators)),
        changed,
        follows,
    )


def _shared(
    units: Sequence[Unit], moved: set[str], moving: Callable[[Sequence[Unit]], set[str]]
) -> bool:
    """Return whether blocks moved only because of a unit that several use, such as a common head.

    Args:
        units: all units.
        moved: names of the units that moved.
        moving: function from redrawn units to the names of those that move.
    """
    blocks = [unit for unit in units if unit.name.startswith("block")]
    others = [unit for unit in units if unit not in blocks]
    lowest = next((k for k, unit in enumerate(blocks) if unit.name in moved), None)
    if lowest is None or not others or blocks[lowest].name in moving(blocks[lowest + 1 :]):
        return False
    return len(moving(others) & {unit.name for unit in blocks}) > 1


def independent(claims: Mapping[str, Any]) -> bool:
    """Return whether these claims say that no block's update depends on a later block."""
    return claims.get("update_locked") is False and claims.get("global_error") == "none"


class _ObservedStep:
    """An unchanged step, and steps with changes to compare with it.

    Args:
        generator: generator of all random choices.
        traced: whether the uses of weights are recorded, which ``changed`` requires.
    """

    def __init__(
        self,
        rule: Rule,
        batch: Batch,
        position: StepPosition,
        phase: Phase | None,
        seed: int,
        generator: torch.Generator,
        *,
        traced: bool,
    ) -> None:
        def positions(number: int) -> StepPosition:
            next_step = StepPosition(position.index + number, position.epoch + position.last)
            return next_step if number else position

        self.subject = RuleSubject(rule, batch.x, batch.target, seed=seed, positions=positions)
        self.steps = 2 if traced and position.last else 1
        self.phase = phase
        self.rows = len(batch.target)
        self.exact = batch.x.device.type == "cpu"
        self.generator = generator
        self.replica = self.subject.replica()
        self.signals: list[Signals] = []
        self.reference = Reference(phase, [self.rows] * self.steps, signals=self.signals)
        with observed(self.subject, self.replica):
            for number in range(self.steps):
                self._step(number, traced)
        self.repeated = None if self.exact else self._made()

    def _step(self, number: int, traced: bool) -> None:
        whole = self.subject.batch(number, self.rows)
        if not traced:
            self.signals.append(self.replica.step(number, whole, self.phase))
            return
        self.reference.values.append(self.replica.values())
        with tracing(
            UseTracer(self.replica.model, self.replica.params, whole.x, whole.target)
        ) as tracer:
            self.signals.append(self.replica.step(number, whole, self.phase))
        self.reference.uses.append(tracer.uses)

    def _made(self) -> list[Signals]:
        replica = self.subject.replica()
        return [
            replica.step(number, self.subject.batch(number, self.rows), self.phase)
            for number in range(self.steps)
        ]

    def draw(self, low: int, high: int) -> int:
        """Draw a number from low to high - 1; return low where there is none."""
        return int(torch.randint(low, max(low + 1, high), (), generator=self.generator))

    def moving(self, redrawn: Sequence[Unit]) -> set[str]:
        """Return the names of the other units whose update changes when some are redrawn."""
        twin = self.subject.replica()
        for unit in redrawn:
            twin.put({n: redraw(twin.params[n].detach(), self.generator) for n in unit.params})
        other = twin.step(0, self.subject.batch(0, self.rows), self.phase)
        others = [unit for unit in self.subject.units if unit not in redrawn]
        return {u.name for u in others if any(self._moved(n, 0, other) for n in u.params)}

    def changed(self) -> tuple[str, tuple[str, ...]]:
        """Change a random layer and hold its outputs; return its name and the layers that moved."""
        signalled = {name for signals in self.signals for name in signals}
        maps, _ = layers(self.replica.params, self.reference.uses)
        learning = [m for m in maps if signalled & {*m.weights}]
        if len(learning) < 2:
            return "", ()
        later = learning[self.draw(1, len(learning))]
        perturbation = LayerPerturbation(
            self.subject, self.reference, later, list(self.replica.params), outside=True
        )
        try:
            others = perturbation.response(self.draw(0, 2**31))
        except CannotHoldError:
            return "", ()
        follows = [m for m in learning if m is not later and self._follows(m, others)]
        label = self.subject.label
        return label(later.name), tuple(label(m.name) for m in follows)

    def _follows(self, m: Map, others: list[Signals]) -> bool:
        return any(
            self._moved(name, number, other)
            for number, other in enumerate(others)
            for name in m.params
        )

    def _moved(self, name: str, number: int, other: Signals) -> bool:
        one = self.signals[number]
        if (name in one) != (name in other):
            return True
        if name not in one:
            return False
        if len(one[name]) != len(other[name]):
            return True
        a, b = torch.stack(one[name]), torch.stack(other[name])
        if self.repeated is None:
            return not torch.equal(a, b)
        noise = float((a - torch.stack(self.repeated[number][name])).norm())
        return float((a - b).norm()) > 10 * noise
