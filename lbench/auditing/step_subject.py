"""Any PyTorch training step as the subject of an audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from lbench.auditing.copying import copied
from lbench.auditing.subject import Signals, Subject, Trial, Unit
from lbench.errors import UsageError
from lbench.step import Phase
from lbench.task import Batch

StepFunction = Callable[[nn.Module, tuple[Tensor, Tensor]], Any]
Predict = Callable[[nn.Module, Tensor], Tensor]
Units = Mapping[str, Sequence[nn.Module]]


class StepTrial(Trial):
    """A copy of a training step with its model and optimizers.

    Its signals are the gradients that optimizers find; of a parameter that changed without an
    optimizer, the change.

    Args:
        step: called with the model and (inputs, labels).
        model: the copy.
        predict: from the model and inputs to scores.
    """

    def __init__(self, step: StepFunction, model: nn.Module, predict: Predict) -> None:
        super().__init__(model)
        self._function = step
        self._predict = predict

    def _step(self, index: int, batch: Batch, phase: Phase | None) -> Signals:
        names = {id(p): name for name, p in self.params.items()}
        signals = Signals()
        known = self.values()
        stepped: set[str] = set()

        def look() -> None:
            """What changed outside of an optimizer is a signal of its own."""
            for name, value in self.params.items():
                if not torch.equal(value, known[name]):
                    signals.add_change(name, known[name], value)
                    known[name] = value.detach().clone()
                    if name in stepped:
                        self.conduct.writes.append((name, "outside of its optimizer"))

        def before(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            look()
            for p in _params(optimizer):
                if id(p) in names and p.grad is not None:
                    signals.add(names[id(p)], p.grad)
                    stepped.add(names[id(p)])

        def after(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            known.update(self.values())

        handles = [
            register_optimizer_step_pre_hook(before),
            register_optimizer_step_post_hook(after),
        ]
        try:
            self._function(self.model, (batch.x, batch.target))
        finally:
            for handle in handles:
                handle.remove()
        look()
        return signals

    def scores(self, x: Tensor) -> Tensor:
        """What the caller's ``predict`` says."""
        return self._predict(self.model, x)


class StepSubject(Subject):
    """A training step that knows nothing of lbench; it is copied with all that it refers to.

    Args:
        step: makes one training step on a model and a batch (inputs, labels).
        model: what the step trains.
        x: (rows, …), float64.
        target: (rows,).
        units: names and modules, in the order in which they act; None for the model's children.
        predict: from the model and inputs to scores; None for calling the model.

    Raises:
        UsageError: fewer than two units, or units that are not the model's.
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
        self._original = (step, model, predict or _call)
        self._before = {n: v.detach().clone() for n, v in model.state_dict().items()}

    def trial(self) -> StepTrial:
        """A copy of step, model and all else that the step refers to, in float64."""
        step, model, predict = copied(*self._original, dtype=torch.float64)
        return StepTrial(step, model.train(), predict)

    def shard(self, index: int, count: int) -> StepTrial:
        """A copy without dropout: a part of a batch cannot be given its part of the masks."""
        trial = self.trial()
        for module in trial.model.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.p = 0.0
        return trial

    def coupling(self) -> str:
        """BatchNorm couples by means; anything else may couple by rows."""
        return "mean" if self.norm_by_batch else "rows"

    @property
    def norm_by_batch(self) -> bool:
        """Whether the model has BatchNorm."""
        kind = nn.modules.batchnorm._BatchNorm
        return any(isinstance(m, kind) for m in self._original[1].modules())

    def check(self) -> None:
        """Whether the step can be measured at all.

        Raises:
            UsageError: it trains nothing of its model, does not repeat itself, or trains what
                was not copied.
        """
        batch = self.batch(0, min(7, len(self.x)))
        one, two = (self.trial().step(0, batch, None) for _ in range(2))
        if any(not torch.equal(v, self._before[n]) for n, v in self._state()):
            raise UsageError(
                f"Step {self.name} trained the model itself, not the copy that it was given.",
                "Let it use its first argument, def step(model, batch), and optimizers that it "
                "reads from variables around it or from an object that it belongs to.",
            )
        if not one:
            raise UsageError(
                f"Step {self.name} changed no parameter of its model.",
                "Give the model that the step trains, with parameters that ask for gradients. What "
                "only adds up gradients is no step: audit what changes the parameters.",
            )
        if any(not torch.equal(a, b) for n in one for a, b in zip(one[n], two[n], strict=True)):
            raise UsageError(
                f"Step {self.name} does not repeat itself: two copies on the same batch, with the "
                "same random numbers, gave other gradients.",
                "Keep its state in the model, its optimizers, or variables that it refers to.",
            )

    def _state(self) -> list[tuple[str, Tensor]]:
        return list(self._original[1].state_dict().items())


def _params(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _call(model: nn.Module, x: Tensor) -> Tensor:
    scores: Tensor = model(x)
    return scores


def _units(model: nn.Module, units: Units | None) -> list[Unit]:
    own = {id(p): n for n, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}

    def names(modules: Sequence[nn.Module]) -> list[str]:
        return [own[id(p)] for m in modules for p in m.parameters() if id(p) in own]

    if units is None:
        children = list(model.named_children())
        while len(trained := [(name, m) for name, m in children if names([m])]) == 1:
            children = [(f"{trained[0][0]}.{n}", m) for n, m in trained[0][1].named_children()]
        units = {name: [m] for name, m in trained}
    inside = {id(m) for m in model.modules()}
    for name, modules in units.items():
        if any(id(m) not in inside for m in modules):
            raise UsageError(f"Unit {name!r} of the audit has modules that are not the model's.")
    if len(units) < 2:
        raise UsageError(
            f"The audit needs at least two units with parameters, but found {len(units)}.",
            "Name them: units={'block1': [model.conv1, model.head1], 'block2': [model.conv2]}.",
        )
    return [Unit(name, names(modules)) for name, modules in units.items()]
