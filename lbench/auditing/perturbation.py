"""Undisturbed steps, and the same steps with a layer's weights changed and its outputs held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lbench.auditing.decay import without_decay
from lbench.auditing.maps import Map, change
from lbench.auditing.subject import Signals, Subject, SubjectReplica, moved
from lbench.auditing.use_tracer import UseTracer, tracing
from lbench.auditing.uses import HeldUses, Use
from lbench.step import Phase


@dataclass
class Reference:
    """Undisturbed steps of a phase.

    Args:
        phase: the phase; None where training has no phases.
        rows: number of rows of each step's batch.
        first: index of its first step among the steps of all phases.
        values: trained parameters before each step.
        signals: signals of each step.
        uses: uses of trained parameters in each step.
    """

    phase: Phase | None
    rows: list[int]
    first: int = 0
    values: list[dict[str, Tensor]] = field(default_factory=list)
    signals: list[Signals] = field(default_factory=list)
    uses: list[list[Use]] = field(default_factory=list)

    def numel(self, layer: Map) -> int:
        """Return the number of weights of a layer."""
        return sum(self.values[0][name].numel() for name in layer.weights)


def trained(subject: Subject, rows: list[int]) -> list[str]:
    """Return the names of the parameters that get a signal in some phase; others are constants."""
    names: set[str] = set()
    replica = subject.replica()
    for phase in subject.phases:
        replica = subject.replica()
        for index, count in enumerate(rows):
            names |= replica.step(index, subject.batch(index, count), phase).keys()
    known = {id(replica.params[name]) for name in names}
    return [name for name, p in replica.params.items() if id(p) in known]


def undisturbed(
    subject: Subject, phase: Phase | None, rows: list[int], names: Sequence[str]
) -> Reference:
    """Make one step for each entry of ``rows``, and record its parameters, signals and uses.

    Args:
        names: names of the trained parameters.
    """
    reference = Reference(phase, rows)
    replica = subject.replica()
    params = {name: replica.params[name] for name in names}
    for index, count in enumerate(rows):
        reference.values.append(replica.values())
        batch = subject.batch(index, count)
        with tracing(UseTracer(replica.model, params, batch.x, batch.target)) as tracer:
            reference.signals.append(replica.step(index, batch, phase))
        reference.uses.append(tracer.uses)
    return reference


class LayerPerturbation:
    """Steps in which a layer's weights are changed and its outputs held.

    Before each step, all other parameters have their values of the undisturbed steps.

    Args:
        subject: what makes the steps.
        reference: the undisturbed steps.
        later: the layer that is changed.
        names: names of the trained parameters.
        outside: whether uses outside of the call of the layer's own module are held too.
    """

    def __init__(
        self,
        subject: Subject,
        reference: Reference,
        later: Map,
        names: Sequence[str],
        *,
        outside: bool = False,
    ) -> None:
        self.subject = subject
        self.reference = reference
        self.later = later
        self.names = names
        self.outside = outside

    def response(self, number: int, *, factor: int = 1, last: int | None = None) -> list[Signals]:
        """Return the signals of the steps under a change, which differs from step to step.

        Args:
            number: number of the change, from 0.
            factor: how often the change is added.
            last: the last step that is made, from 0; None for all steps.

        Raises:
            CannotHoldError: the changed step uses the layer differently than the undisturbed one.
        """
        replica = self.subject.replica()
        params = {name: replica.params[name] for name in self.names}
        reference, signals = self.reference, []
        for index, rows in enumerate(reference.rows[: None if last is None else last + 1]):
            changes = self._change(replica, index, number, factor)
            batch = self.subject.batch(index, rows)
            held = HeldUses(frozenset(self.later.weights), reference.uses[index], self.outside)
            with tracing(UseTracer(replica.model, params, batch.x, batch.target, held)):
                signals.append(replica.step(index, batch, reference.phase))
            without_decay(signals[-1], reference.signals[index], changes)
        return signals

    def acts(self) -> bool:
        """Return whether a change shows in outputs of layers at any step, or in a prediction."""
        replica, plain = self.subject.replica(), self.subject.replica()
        params = {name: replica.params[name] for name in self.names}
        for index, rows in enumerate(self.reference.rows):
            batch = self.subject.batch(index, rows)
            self._change(replica, index, 0, 1)
            plain.put(self.reference.values[index])
            if not torch.equal(replica.predict(batch.x), plain.predict(batch.x)):
                return True
            with tracing(UseTracer(replica.model, params, batch.x, batch.target)) as tracer:
                replica.step(index, batch, self.reference.phase)
            plain.step(index, batch, self.reference.phase)
            before = [t for use in self.reference.uses[index] for t in use.outputs]
            if moved(before, [t for use in tracer.uses for t in use.outputs]):
                return True
        return False

    def _change(
        self, replica: SubjectReplica, index: int, number: int, factor: int
    ) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(len(self.reference.rows) * number + index)
        values = self.reference.values[index]
        replica.put(values)
        weights = self.later.weights
        changes = {name: factor * change(values[name], generator) for name in weights}
        replica.put({name: values[name] + by for name, by in changes.items()})
        return changes
