"""Memory of a training step: the peak of the bytes in tensors that the step creates."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from lbench.training.dispatch import DispatchMode
from lbench.training.memory import MIB

AT = 2
"""The step of a phase that is measured, from 0: by the third the optimizers have their state."""


class StepMemory:
    """Memory of a step's activations, noise and gradients, the largest of the measured steps.

    Parameters and optimizer state, which exist before the step, are not counted.
    """

    def __init__(self, mib: float | None = None) -> None:
        self.mib = mib

    @staticmethod
    def due(position: int, steps: int) -> bool:
        """Return whether the step at this position of a phase with ``steps`` steps is measured."""
        return position == min(AT, steps - 1)

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Count the tensors of the step that runs inside."""
        lifetimes = Lifetimes()
        with lifetimes:
            yield
        self.mib = max(self.mib or 0.0, lifetimes.peak / MIB)


class Lifetimes(DispatchMode):  # type: ignore[no-untyped-call]
    """The bytes of all storages that are created inside, as long as they exist.

    Scratch space that an operator frees before it returns, and sparse tensors, are not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        # A view, or a tensor that was changed in place, has the storage of an argument.
        given = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(made):
            if storage._cdata not in given and storage._cdata not in self._sizes:
                self._sizes[storage._cdata] = storage.nbytes()
                self._now += storage.nbytes()
                weakref.finalize(storage, self._freed, storage._cdata)
        self.peak = max(self.peak, self._now)
        return made

    def _freed(self, key: int) -> None:
        self._now -= self._sizes.pop(key)


def _storages(values: Any) -> Iterator[Any]:
    for value in tree_leaves(values):
        if isinstance(value, Tensor) and value.layout == torch.strided:
            yield value.untyped_storage()
