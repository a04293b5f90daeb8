"""PyTorch training steps as subjects of an audit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lbench.auditing.copies import Copy, Original
from lbench.auditing.error_location import describe_error
from lbench.auditing.optimizers import OptimizerRecorder
from lbench.auditing.repeats import ROWS, repeated, unchanged
from lbench.auditing.subject import Signals, Subject, SubjectReplica, Unit, set_training
from lbench.errors import UsageError
from lbench.step import Phase
from lbench.task import Batch

StepFunction = Callable[[nn.Module, tuple[Tensor, Tensor]], Any]
Predict = Callable[[nn.Module, Tensor], Tensor]
Units = Mapping[str, Sequence[nn.Module]]
MOST_CALLS = 64
"""Largest number of calls of a step until parameters must change."""


class StepReplica(SubjectReplica):
    """A copy of a training step with its model and optimizers.

    Its signals are those of :class:`~lbench.auditing.optimizers.OptimizerRecorder`.

    Args:
        copy: copy of the step, the model and ``predict``.
        calls: number of calls of the step per step of the audit.
    """

    def __init__(self, copy: Copy, calls: int) -> None:
        self._function, model, self._predict = copy.objects
        super().__init__(set_training(model, True))
        self._copy = copy
        self._calls = calls

    def _step(self, index: int, batch: Batch, phase: Phase | None) -> Signals:
        recorder = OptimizerRecorder(self.params)
        with self._copy.inside(), double_precision(), recorder.running():
            for _ in range(self._calls):
                self._function(self.model, (batch.x, batch.target))
        self.conduct.writes += recorder.writes
        return recorder.signals

    def logits(self, x: Tensor) -> Tensor:
        """Return what the caller's ``predict`` returns.

        Raises:
            UsageError: ``predict`` failed, or returned no tensor.
        """
        try:
            with self._copy.inside(), double_precision():
                logits = self._predict(self.model, x)
        except Exception as error:
            raise UsageError(
                f"The step ran, but predicting failed: {describe_error(error)}",
                "Where predicting is more than model(inputs), give predict(model, inputs), which "
                "returns logits. It is run on copies, in float64, on 1 to 14 rows.",
            ) from error
        if not isinstance(logits, Tensor):
            raise UsageError(
                f"Predicting returns a {type(logits).__name__}, not a tensor of logits.",
                "Give predict=, a function that returns the logits for a model and inputs.",
            )
        return logits


class StepSubject(Subject):
    """A training step that need not use lbench, copied with everything that it refers to.

    Args:
        step: makes one training step on a model and a batch (inputs, labels).
        model: the model that the step trains.
        x: inputs, (rows, …), float64.
        target: labels, (rows,).
        units: names and modules, in the order in which they act; None for the model's children,
            and those in its lists of modules.
        predict: function from model and inputs to logits; None for calling the model.

    Raises:
        UsageError: there are fewer than two units, or a unit has modules of another model.
    """

    def __init__(
        self,
        step: StepFunction,
        model: nn.Module,
        x: Tensor,
        target: Tensor,
        units: Units | None = None,
        predict: Predict | None = None,
    ) -> None:
        name = getattr(step, "__name__", type(step).__name__)
        super().__init__(name, _units(model, units), [None], x, target)
        self.model = model
        roots = {"step": step, "model": model, "predict": predict or _call}
        self._original = Original(roots, dtype=torch.float64)
        self._calls = 1

    def replica(self) -> StepReplica:
        """Return a copy of the step, the model and all else that the step uses, in float64."""
        return StepReplica(self._original.copy(), self._calls)

    def shard(self, index: int, count: int) -> StepReplica:
        """Return a copy without dropout, since a part of a batch cannot have its part of a mask."""
        replica = self.replica()
        for module in replica.model.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.p = 0.0
        return replica

    def coupling(self) -> str:
        """Return mean where the model has BatchNorm, otherwise rows."""
        return "mean" if any(isinstance(m, _BatchNorm) for m in self.model.modules()) else "rows"

    @cached_property
    def norm_by_batch(self) -> bool:
        """Return whether a step passes one vector per example to a BatchNorm of the model."""
        replica = self.replica()
        one_vector: list[bool] = []

        def record(module: nn.Module, args: Any) -> None:
            if isinstance(module, _BatchNorm) and args:
                one_vector.append(args[0][0].numel() == args[0].shape[1])

        handles = [m.register_forward_pre_hook(record) for m in replica.model.modules()]
        replica.step(0, self.batch(0, ROWS), None)
        for handle in handles:
            handle.remove()
        return any(one_vector)

    def check(self) -> None:
        """Check that the step can be measured at all.

        For a step that accumulates gradients over several calls, these calls are one step.

        Raises:
            UsageError: it trains nothing of its model, does not repeat itself, or trains
                something that was not copied.
        """
        with unchanged(self._original, self):
            while not repeated(self, self._original):
                if self._calls >= MOST_CALLS:
                    raise UsageError(
                        f"Step {self.name} changed no parameter of its model in {self._calls} "
                        "calls.",
                        "Give the model that the step trains, with parameters that require "
                        "gradients. A function that only accumulates gradients is no step: audit "
                        "the function that changes the parameters.",
                    )
                self._calls *= 2


@contextmanager
def double_precision() -> Iterator[None]:
    """Make new floating-point tensors float64 within the context, as the copies are."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _call(model: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = model(x)
    return logits


def _units(model: nn.Module, units: Units | None) -> list[Unit]:
    own = {id(p): n for n, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}

    def names(modules: Sequence[nn.Module]) -> list[str]:
        return [own[id(p)] for m in modules for p in m.parameters() if id(p) in own]

    if units is None:
        children = list(_children(model))
        while len(trained := [(name, m) for name, m in children if names([m])]) == 1:
            children = [(f"{trained[0][0]}.{n}", m) for n, m in _children(trained[0][1])]
        units = {name: [m] for name, m in trained}
    inside = {id(m) for m in model.modules()}
    for name, modules in units.items():
        if any(id(m) not in inside for m in modules):
            raise UsageError(f"Unit {name!r} of the audit has modules that are not the model's.")
    if not own:
        raise UsageError(
            f"Model {type(model).__name__} has no trained parameters.",
            "PyTorch does not find modules in a plain list. If the model keeps its layers in one, "
            "write: model = torch.nn.ModuleList(net.layers)",
        )
    if len(units) < 2:
        raise UsageError(
            f"The audit needs at least two units with parameters, but found {len(units)}.",
            "Name them: units={'block1': [model.conv1, model.head1], 'block2': [model.conv2]}.",
        )
    return [Unit(name, names(modules)) for name, modules in units.items()]


def _children(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield a model's children; for a list of modules, yield its members instead."""
    for name, module in model.named_children():
        if isinstance(module, nn.ModuleList | nn.ModuleDict):
            yield from ((f"{name}.{inner}", child) for inner, child in _children(module))
        else:
            yield name, module
