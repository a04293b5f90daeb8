"""The short form: a look at one step of a run in progress, on copies of its rule."""

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
    """What one step was seen to do.

    Args:
        step: from 0.
        cut: everything from this unit on was redrawn in a twin; empty where nothing was. Where
            nothing moved, everything behind the first unit may have been redrawn in another twin.
        moved: units below the cut whose update was another one then.
        writes: parameters that changed outside of an update, in words.
        generators: global generators that were drawn from.
        changed: a layer whose weights were changed behind its held outputs; empty where none was.
        follows: layers whose update was another one then.
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
    """Makes one step on copies of the rule, as it is and in ways that its claims make comparable.

    Where the rule claims that blocks do not depend on later ones, all weights behind a random
    unit are redrawn. Where it claims that no transposed weights reach an update, those of a random
    layer are changed behind its held outputs; at the end of an epoch the step behind it is made
    too, for it shows what was copied there. Of a rule that claims both, one or the other is looked
    at, at random. On a device whose kernels do not repeat themselves bit
    by bit, what counts as moved is more than two equal copies differ by.

    Args:
        batch: as the trainer has it, before the rule prepares it.
        position: of the step in the run.
        seed: of the run.
    """
    claims = type(rule).claims(rule.config, rule.network).as_dict()
    cut, moved = "", tuple[str, ...]()
    changed, follows = "", tuple[str, ...]()
    apart, held = independent(claims), claims["transport"] == "none"
    generator = Randomness(seed).generator("audit/cut", position.index)
    if apart and held:  # one of both: together they would take too long
        held = bool(torch.randint(2, (), generator=generator))
        apart = not held
    look = _Look(rule, batch, position, phase, seed, generator, watched=held)
    if held:
        changed, follows = look.changed()
    units = look.subject.units
    if apart and len(units) > 1:
        for at in dict.fromkeys((look.drawn(1, len(units)), 1)):
            found = look.moving(units[at:])
            if found and not _shared(units, found, look.moving):
                cut, moved = units[at].name, tuple(u.name for u in units[:at] if u.name in found)
                break
            cut = cut or units[at].name
    label, conduct = look.subject.label, look.base.conduct
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
    units: Sequence[Unit], found: set[str], moving: Callable[[Sequence[Unit]], set[str]]
) -> bool:
    """Whether blocks moved by a unit alone that several use, such as a head of all blocks.

    Args:
        found: the units that moved.
        moving: those that move when some are redrawn.
    """
    blocks = [unit for unit in units if unit.name.startswith("block")]
    others = [unit for unit in units if unit not in blocks]
    lowest = next((k for k, unit in enumerate(blocks) if unit.name in found), None)
    if lowest is None or not others or blocks[lowest].name in moving(blocks[lowest + 1 :]):
        return False
    return len(moving(others) & {unit.name for unit in blocks}) > 1


def independent(claims: Mapping[str, Any]) -> bool:
    """Whether these claims say that no block's update depends on a later block."""
    return claims.get("update_locked") is False and claims.get("global_error") == "none"


class _Look:
    """A step as it is, to compare others with.

    Args:
        generator: of all that is drawn.
        watched: whether the uses of weights are kept, as ``changed`` needs them.
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
        watched: bool,
    ) -> None:
        def positions(number: int) -> StepPosition:
            behind = StepPosition(position.index + number, position.epoch + position.last)
            return behind if number else position

        self.subject = RuleSubject(rule, batch.x, batch.target, seed=seed, positions=positions)
        self.steps = 2 if watched and position.last else 1
        self.phase = phase
        self.rows = len(batch.target)
        self.exact = batch.x.device.type == "cpu"
        self.generator = generator
        self.base = self.subject.replica()
        self.signals: list[Signals] = []
        self.uses = Reference(phase, [self.rows] * self.steps, signals=self.signals)
        with observed(self.subject, self.base):
            for number in range(self.steps):
                self._step(number, watched)
        self.repeated = None if self.exact else self._made()

    def _step(self, number: int, watched: bool) -> None:
        whole = self.subject.batch(number, self.rows)
        if not watched:
            self.signals.append(self.base.step(number, whole, self.phase))
            return
        self.uses.values.append(self.base.values())
        with tracing(UseTracer(self.base.model, self.base.params, whole.x, whole.target)) as tracer:
            self.signals.append(self.base.step(number, whole, self.phase))
        self.uses.uses.append(tracer.uses)

    def _made(self) -> list[Signals]:
        replica = self.subject.replica()
        return [
            replica.step(number, self.subject.batch(number, self.rows), self.phase)
            for number in range(self.steps)
        ]

    def drawn(self, low: int, high: int) -> int:
        """A number from low to high - 1, or low."""
        return int(torch.randint(low, max(low + 1, high), (), generator=self.generator))

    def moving(self, redrawn: Sequence[Unit]) -> set[str]:
        """The other units whose update is another one when some are redrawn."""
        twin = self.subject.replica()
        for unit in redrawn:
            twin.put({n: redraw(twin.params[n].detach(), self.generator) for n in unit.params})
        other = twin.step(0, self.subject.batch(0, self.rows), self.phase)
        others = [unit for unit in self.subject.units if unit not in redrawn]
        return {u.name for u in others if any(self._moved(n, 0, other) for n in u.params)}

    def changed(self) -> tuple[str, tuple[str, ...]]:
        """Changes a layer behind its held outputs: its name, and the layers that moved."""
        told = {name for signals in self.signals for name in signals}
        found, _ = layers(self.base.params, self.uses.uses)
        every = [m for m in found if told & {*m.weights}]
        if len(every) < 2:
            return "", ()
        later = every[self.drawn(1, len(every))]
        perturbation = LayerPerturbation(
            self.subject, self.uses, later, list(self.base.params), outside=True
        )
        try:
            others = perturbation.look(self.drawn(0, 2**31))
        except CannotHoldError:
            return "", ()
        follows = [m for m in every if m is not later and self._follows(m, others)]
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
