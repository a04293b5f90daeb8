"""Writes into the state of optimizers by code other than the optimizers themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from lbench.auditing.subject import SubjectReplica


class OptimizerStates:
    """Record writes into the state of optimizers by code other than the optimizers themselves.

    Args:
        replica: the copy whose parameters they update.
    """

    def __init__(self, replica: SubjectReplica) -> None:
        self.replica = replica
        self.names = {id(p): name for name, p in replica.params.items()}
        self.known: dict[int, tuple[torch.optim.Optimizer, dict[str, list[Any]]]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record writes within the context, which may be entered for each of several steps."""
        handles = [
            register_optimizer_step_pre_hook(lambda optimizer, args, kwargs: self.check(optimizer)),
            register_optimizer_step_post_hook(lambda optimizer, args, kwargs: self.keep(optimizer)),
        ]
        try:
            yield
            for optimizer, _ in list(self.known.values()):
                self.check(optimizer)
        finally:
            for handle in handles:
                handle.remove()

    def keep(self, optimizer: torch.optim.Optimizer) -> None:
        """Store the state as the optimizer left it."""
        if id(optimizer) not in self.known:
            self._own_methods(optimizer)
        self.known[id(optimizer)] = optimizer, _copied(self._state(optimizer))

    def check(self, optimizer: torch.optim.Optimizer) -> None:
        """Record where the state differs from what the optimizer left; zeros are a reset."""
        if id(optimizer) not in self.known:
            return
        _, before = self.known[id(optimizer)]
        now = self._state(optimizer)
        changed = [name for name, values in now.items() if not _same(before.get(name, []), values)]
        for name in changed:
            if any(bool(torch.as_tensor(value).any()) for value in now[name]):
                self.replica.conduct.note(
                    name, "in the state of its optimizer, outside of its step"
                )
        if changed:
            self.known[id(optimizer)] = optimizer, _copied(now)

    def _state(self, optimizer: torch.optim.Optimizer) -> dict[str, list[Any]]:
        return {
            self.names[id(p)]: list(_numbers(value))
            for p, value in optimizer.state.items()
            if id(p) in self.names
        }

    def _own_methods(self, optimizer: torch.optim.Optimizer) -> None:
        """Count writes by an optimizer's other methods, such as ``update_hessian``, as its own."""
        for name in dir(type(optimizer)):
            own = getattr(type(optimizer), name)
            if name.startswith("_") or hasattr(torch.optim.Optimizer, name) or not callable(own):
                continue

            def method(*args: Any, _name: str = name, **kwargs: Any) -> Any:
                self.check(optimizer)
                try:
                    return getattr(type(optimizer), _name)(optimizer, *args, **kwargs)
                finally:
                    self.keep(optimizer)

            vars(optimizer)[name] = method


def _numbers(value: Any) -> Iterator[Any]:
    """Yield the tensors and numbers in a state, in their order."""
    if isinstance(value, Tensor):
        yield value.detach()
    elif isinstance(value, dict):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield value


def _copied(state: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {
        name: [value.clone() if isinstance(value, Tensor) else value for value in values]
        for name, values in state.items()
    }


def _same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(one, other, strict=True)
    )
