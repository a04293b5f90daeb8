"""Subjects of an audit: anything whose training step can be copied, run and traced."""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lbench.auditing.generators import seeded
from lbench.step import Phase
from lbench.task import Batch


class Signals(dict[str, list[Tensor]]):
    """The signals of one step, by the parameter's name, in the order in which they came.

    A signal has the parameter's shape; that of a complex parameter has real and imaginary parts
    as an additional last axis. It is the gradient that an optimizer received or, for a parameter
    that changed without an optimizer, the value before minus the value after.

    Attributes:
        rounding: by the name of a parameter with such differences, the 2-norm that rounding alone
            may give all its signals together: ε (‖before‖ + ‖after‖) for each difference, with
            the machine epsilon ε of the parameter's type. Other parameters have no entry.
        updates: by the name of a parameter whose gradients are signals, how much optimizers
            subtracted from it, and the 2-norm that rounding alone may give this difference.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rounding: dict[str, float] = {}
        self.updates: dict[str, tuple[Tensor, float]] = {}

    def add(self, name: str, signal: Tensor) -> None:
        """Store a copy of a gradient."""
        dense = signal if signal.layout == torch.strided else signal.to_dense()
        self.setdefault(name, []).append(_real(dense.detach()).clone())

    def add_change(self, name: str, before: Tensor, after: Tensor) -> None:
        """Store the difference of a parameter that changed without an optimizer."""
        with torch.no_grad():
            self.setdefault(name, []).append(_real(before - after))
        self.rounding[name] = self.rounding.get(name, 0.0) + _rounding(before, after)

    def add_update(self, name: str, before: Tensor, after: Tensor) -> None:
        """Store by how much an optimizer changed a parameter."""
        with torch.no_grad():
            change, size = before - after, _rounding(before, after)
        known, rounding = self.updates.get(name, (torch.zeros_like(change), 0.0))
        self.updates[name] = known + change, rounding + size


def _rounding(before: Tensor, after: Tensor) -> float:
    return float(before.norm() + after.norm()) * torch.finfo(after.dtype).eps


def _real(t: Tensor) -> Tensor:
    return torch.view_as_real(t.resolve_conj()) if t.is_complex() else t


LR = 0.01
"""Learning rate of the audit's own plain gradient steps."""


@dataclass
class Unit:
    """What is trained together: a block with its auxiliary modules, or the readout.

    Args:
        name: its name in the report.
        params: names of its trained parameters.
    """

    name: str
    params: list[str]


@dataclass
class Conduct:
    """What a replica did besides its updates.

    Args:
        writes: names of parameters that changed outside of an update, and of state that changed
            in the turn of a unit to which it does not belong, each with the time in words.
        generators: global generators that were drawn from.
    """

    writes: list[tuple[str, str]] = field(default_factory=list)
    generators: set[str] = field(default_factory=set)

    def note(self, name: str, when: str) -> None:
        """Record a write; a write that happens in every step is recorded once."""
        if (name, when) not in self.writes:
            self.writes.append((name, when))


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run what ``torch.compile`` returned without compilation within the context.

    It would be compiled again for every copy, and the audit's own hooks with it.
    """
    if "torch._dynamo" not in sys.modules:  # nothing is compiled; an import takes seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


class SubjectReplica(ABC):
    """A copy of the subject that may be changed and run.

    Args:
        model: the model that has the parameters of the units.

    Attributes:
        noisy: whether the last prediction drew random numbers.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        named = model.named_parameters(remove_duplicate=False)
        self.params = {name: p for name, p in named if p.requires_grad}
        self.conduct = Conduct()
        self.noisy = False

    def step(self, index: int, batch: Batch, phase: Phase | None) -> Signals:
        """Make one training step; the random numbers depend on its index alone."""
        # The batch is copied, since a step may change it in place.
        own = Batch(batch.x.clone(), batch.target.clone())
        with seeded(index, self.conduct.generators), uncompiled():
            return self._step(index, own, phase)

    @abstractmethod
    def _step(self, index: int, batch: Batch, phase: Phase | None) -> Signals: ...

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """Return logits with their graph."""

    def turns(self) -> Mapping[str, Callable[..., str]]:
        """Return methods of the model whose calls are turns: functions from arguments to units."""
        return {}

    def predict(self, x: Tensor) -> Tensor:
        """Return logits in evaluation mode, and leave the model in training mode.

        Random numbers are the same each time.
        """
        set_training(self.model, False)
        drawn: set[str] = set()
        with torch.no_grad(), seeded(0, drawn), uncompiled():
            logits = self.logits(x)
        self.noisy = bool(drawn)
        set_training(self.model, True)
        return logits

    def values(self) -> dict[str, Tensor]:
        """Return copies of all trained parameters."""
        return {name: p.detach().clone() for name, p in self.params.items()}

    def put(self, values: Mapping[str, Tensor]) -> None:
        """Set trained parameters in place."""
        with torch.no_grad():
            for name, value in values.items():
                self.params[name].copy_(value)


class Subject(ABC):
    """What is audited.

    Args:
        name: its name in the report.
        units: units in the order in which they act; a readout is the last one.
        phases: the phases of training; each is measured.
        x: inputs, (rows, …), float64, with enough rows for every measurement.
        target: labels, (rows,).
    """

    def __init__(
        self,
        name: str,
        units: Sequence[Unit],
        phases: Sequence[Phase | None],
        x: Tensor,
        target: Tensor,
    ) -> None:
        self.name = name
        self.units = list(units)
        self.phases = list(phases)
        self.x = x
        self.target = target

    @abstractmethod
    def replica(self) -> SubjectReplica:
        """Return a fresh copy; all copies are alike."""

    @abstractmethod
    def shard(self, index: int, count: int) -> SubjectReplica:
        """Return a copy for one of ``count`` equal parts of a batch, with that part's noise."""

    @abstractmethod
    def coupling(self) -> str:
        """Return what explains that the examples of a batch are coupled: mean or rows."""

    @property
    @abstractmethod
    def norm_by_batch(self) -> bool:
        """Return whether a normalisation needs more than two examples to have a gradient."""

    def label(self, name: str) -> str:
        """Return the name of a module or parameter in the report."""
        return name

    def batch(self, index: int, rows: int) -> Batch:
        """Return the batch of a step, which has different rows at each step."""
        start = (index * rows) % max(1, len(self.x) - rows + 1)
        return Batch(self.x[start : start + rows], self.target[start : start + rows])


def set_training(module: nn.Module, training: bool) -> nn.Module:
    """Set a model's mode as ``module.train(training)`` does, and return the model.

    Where a module's ``train`` is a training loop of its own, it is not called.
    """
    own = type(module).train
    if own is not nn.Module.train and _takes_mode(own):
        return module.train(training)
    module.training = training
    for child in module.children():
        set_training(child, training)
    return module


def _takes_mode(train: Callable[..., object]) -> bool:
    mode = list(inspect.signature(train).parameters.values())[1:]
    return len(mode) == 1 and (mode[0].name == "mode" or mode[0].default is True)


def moved(one: list[Tensor] | None, other: list[Tensor] | None) -> bool:
    """Return whether two signals differ in any bit; NaN differs from every number."""
    if one is None or other is None or len(one) != len(other):
        return one is not other
    return not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def moved_bits(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors differ anywhere, where NaN equals NaN."""
    if torch.equal(one, other):
        return False
    if not bool(one.sum().isnan()):  # a check without a copy, for tensors without NaN
        return True
    return not torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))
