"""The check that a rule is ready for a GPU: it computes on one device, and never waits for it.

The device is PyTorch's ``meta``, whose tensors have no values: ``item()``, ``bool()`` and copies to
the CPU fail on it, wherever the CPU would wait for a GPU.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lbench.randomness import Kind, Randomness
from lbench.rule import Rule
from lbench.step import Step
from lbench.task import Batch
from lbench.testing.subject import FailedError, Subject, toy
from lbench.training.dispatch import DispatchMode

NOTE = (
    "the meta device stands for a GPU: values on the CPU make each step wait, and tensors that are "
    "no parameters or buffers stay on the CPU"
)


def stays_on_its_device(subject: Subject) -> None:
    """Check that steps and predictions compute on one device, and wait for no value of it."""
    for net in subject.nets:
        try:
            run_without_values(subject.build(net), toy(shape=net.shape)[0])
        except Exception as error:
            error.add_note(f"on {net.label}; {NOTE}")
            raise


def run_without_values(rule: Rule, batch: Batch) -> None:
    """Make two steps of each phase and a prediction on the meta device, with a copy of a rule.

    Args:
        rule: the rule, which stays as it is.
        batch: images and labels; only their shapes matter.

    Raises:
        RuntimeError: the rule needs the value of a tensor, or a tensor is on another device.
        NotImplementedError: the rule copies a tensor to the CPU.
        FailedError: what it logs is on another device.
    """
    rule = _without_values(rule).train()
    rule.attach({group.name: _Descent(group.params) for group in rule.groups()})
    batch = Batch(batch.x.to("meta"), batch.target.to("meta"))
    with _OneDevice(), _no_autocast():
        for index, phase in enumerate(phase for phase in rule.phases() for _ in range(2)):
            last = index % 2 == 1
            s = Step(_Unseeded(0), index, phase=phase, last=last, device="meta")
            rule.step(rule.prepare(batch, s), s)
            rule.after_step(s)
            for name, value in s.logs.items():
                if not value.is_meta:
                    raise FailedError(f"the step logs {name!r} on {value.device.type}")
        with torch.no_grad():
            rule.eval().predict(batch.x)


class _OneDevice(DispatchMode):  # type: ignore[no-untyped-call]
    """Refuses operations on tensors of two devices; a number is on every device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.dim()]
        if len(devices := {t.device.type for t in tensors}) > 1:
            raise RuntimeError(f"{func} has tensors on {' and '.join(sorted(devices))}")
        return func(*args, **kwargs)


class _Unseeded(Randomness):
    """Randomness without generators, which the meta device does not have."""

    def draw(
        self,
        stream: str,
        index: int,
        shape: tuple[int, ...] | torch.Size,
        kind: Kind = "normal",
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Return a tensor without values."""
        return torch.empty(shape, device=device)


class _Descent:
    """An update that subtracts the gradients."""

    def __init__(self, params: Mapping[str, nn.Parameter]) -> None:
        self.params = params

    @torch.no_grad()
    def __call__(self, grads: Mapping[str, Tensor]) -> None:
        for name, grad in grads.items():
            self.params[name].sub_(grad)


def _without_values(rule: Rule) -> Rule:
    """Copy a rule; the parameters and buffers of the copy are on the meta device.

    Unlike ``.to("cuda")``, ``.to("meta")`` makes new parameters, which a rule's own lists of
    parameters would lack.
    """
    memo: dict[int, object] = {}
    for t in (*rule.parameters(), *rule.buffers()):
        empty = torch.empty_like(t, device="meta")
        memo[id(t)] = nn.Parameter(empty, t.requires_grad) if isinstance(t, nn.Parameter) else empty
    return copy.deepcopy(rule, memo)


@contextlib.contextmanager
def _no_autocast() -> Iterator[None]:
    """Let autocast have no effect: PyTorch has none for the meta device."""
    with mock.patch.object(torch, "autocast", return_value=contextlib.nullcontext()):
        yield
