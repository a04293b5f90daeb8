"""Gradients that the optimizers of a plain training step receive, and changes without them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from lbench.auditing.subject import Signals, moved_bits
from lbench.auditing.use_tracer import untraced


class OptimizerRecorder:
    """Record the signals of one training step, and changes of parameters by other optimizers.

    A parameter's signals are the gradients that optimizers read: before a step without a closure,
    or after each call of a closure. Where an optimizer changes a parameter that has no gradient,
    and where a parameter changes outside of every optimizer, the change itself is the signal.
    What an optimizer does to its own parameters inside its step, such as the ascent and the
    return of sharpness-aware minimization, is not a separate signal.

    Args:
        params: trained parameters of the model, by name.

    Attributes:
        signals: the signals recorded so far.
        writes: names of parameters that changed in the step of an optimizer that does not hold
            them, and descriptions of that step.
    """

    def __init__(self, params: Mapping[str, Tensor]) -> None:
        self.signals = Signals()
        self.writes: list[tuple[str, str]] = []
        self._params = params
        self._names = {id(p): name for name, p in params.items()}
        self._known = {name: p.detach().clone() for name, p in params.items()}
        # Gradients that exist already belong to an earlier step.
        self._read = {name: _mark(p.grad) for name, p in params.items()}
        self._active: list[Optimizer] = []
        self._with_gradient: list[set[int]] = []  # ids of parameters, by active optimizer

    @contextmanager
    def running(self) -> Iterator[None]:
        """Record the steps of every optimizer within the context."""
        handles = [
            register_optimizer_step_pre_hook(self._before),
            register_optimizer_step_post_hook(self._after),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        self._outside()

    @untraced
    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        if not self._active:
            self._outside()
        nested = optimizer in self._active
        self._active.append(optimizer)
        self._with_gradient.append(set())
        wrapped = [_is_closure(argument) for argument in (*args[1:], *kwargs.values())]
        self._gradients(optimizer, fresh=nested or any(wrapped))
        if not any(wrapped):
            return None
        wrap = functools.partial(self._wrap, optimizer)
        new = (args[0], *(wrap(argument) for argument in args[1:]))
        return new, {name: wrap(argument) for name, argument in kwargs.items()}

    def _wrap(self, optimizer: Optimizer, closure: Any) -> Any:
        if not _is_closure(closure):
            return closure

        @functools.wraps(closure)
        def reading(*args: Any, **kwargs: Any) -> Any:
            result = closure(*args, **kwargs)
            self._gradients(optimizer, fresh=False)
            return result

        return reading

    @untraced
    def _gradients(self, optimizer: Optimizer, *, fresh: bool) -> None:
        """Record the gradients of an optimizer's parameters; with ``fresh``, only new ones."""
        for p in held_by(optimizer):
            name = self._names.get(id(p))
            if name is None or p.grad is None:
                continue
            mark = _mark(p.grad)
            if fresh and mark == self._read[name]:
                continue
            self.signals.add(name, p.grad)
            for ids in self._with_gradient:
                ids.add(id(p))
            self._read[name] = mark

    @untraced
    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        held = {id(p) for active in self._active for p in held_by(active)}
        with_gradient = self._with_gradient.pop() if self._with_gradient else set()
        if self._active:
            self._active.pop()
        kind = type(optimizer).__name__
        for name, before, p in self._changes():
            if id(p) not in held:
                self.writes.append((name, f"in the step of another optimizer ({kind})"))
            elif id(p) in with_gradient:
                self.signals.add_update(name, before, p.detach())
                self._remember(name, p)
                continue
            elif self._active:
                continue  # the outer optimizer's step has not ended
            self._keep(name, before, p)

    @untraced
    def _outside(self) -> None:
        """Record changes outside of every optimizer as signals."""
        for name, before, p in self._changes():
            self._keep(name, before, p)

    def _keep(self, name: str, before: Tensor, p: Tensor) -> None:
        self.signals.add_change(name, before, p.detach())
        self._remember(name, p)

    def _remember(self, name: str, p: Tensor) -> None:
        if self._known[name].shape == p.shape:
            self._known[name].copy_(p.detach())  # faster than allocating memory
        else:
            self._known[name] = p.detach().clone()

    def _changes(self) -> list[tuple[str, Tensor, Tensor]]:
        return [
            (name, self._known[name], p)
            for name, p in self._params.items()
            if moved_bits(p.detach(), self._known[name])
        ]


def held_by(optimizer: Optimizer) -> list[Tensor]:
    """Return the parameters of an optimizer."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def _mark(grad: Tensor | None) -> tuple[int, int] | None:
    return None if grad is None else (id(grad), grad._version)


def _is_closure(value: Any) -> bool:
    return isinstance(value, Callable) and not isinstance(value, (type, nn.Module))  # type: ignore[arg-type]
