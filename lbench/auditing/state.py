"""State that a model keeps beside its trained parameters, and whether it is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.nn.modules.batchnorm import _NormBase

from lbench.auditing.subject import Subject, SubjectReplica, moved_bits, set_training
from lbench.step import Phase
from lbench.task import Batch

DEPTH = 4
"""Number of nested containers that are searched for tensors."""
INTERNAL = frozenset(vars(nn.Module()))
SKIPPED = (type, torch.optim.Optimizer, torch.dtype, torch.device)


def state(model: nn.Module, *, once: bool = True) -> dict[str, Tensor]:
    """Return buffers, parameters that are not trained, and tensors in attributes, by name.

    Lists, tuples, dicts, objects and modules in attributes are searched too: ``memory.0``,
    ``memory.0.weight``.

    Args:
        once: whether a tensor that can be reached by several names is returned by one of them.
    """
    seen = {id(p) for p in model.parameters() if p.requires_grad}
    registered = [
        *model.named_buffers(remove_duplicate=once),
        *model.named_parameters(remove_duplicate=once),
    ]
    tensors = {
        name: tensor
        for name, tensor in registered
        if id(tensor) not in seen and not is_functorch_wrapped_tensor(tensor)
    }
    if once:
        seen |= {id(tensor) for tensor in tensors.values()}
    for path, module in model.named_modules():
        own = {k: v for k, v in vars(module).items() if k not in INTERNAL}
        seen.add(id(module))
        for name, value in own.items():
            for inner, tensor in _inside(value, f"{path}.{name}" if path else name, seen, DEPTH):
                tensors[inner] = tensor
                if once:
                    seen.add(id(tensor))
    return tensors


def _inside(value: Any, name: str, seen: set[int], depth: int) -> Iterator[tuple[str, Tensor]]:
    if id(value) in seen or not depth or isinstance(value, SKIPPED):
        return
    items: dict[Any, Any] = {}
    if isinstance(value, Tensor):
        if not is_functorch_wrapped_tensor(value):  # inside vmap or jvp
            yield name, value
    elif isinstance(value, nn.Module):
        seen.add(id(value))
        items = {**dict(value.named_parameters()), **dict(value.named_buffers())}
    elif isinstance(value, Mapping):
        items = dict(value)
    elif isinstance(value, list | tuple):
        items = dict(enumerate(value))
    elif not callable(value) and hasattr(value, "__dict__"):
        seen.add(id(value))
        items = vars(value)
    for key, item in items.items():
        yield from _inside(item, f"{name}.{key}", seen, depth - 1)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the whole state."""
    return {name: tensor.detach().clone() for name, tensor in state(model).items()}


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> list[str]:
    """Return the names in ``after`` that are new or have another value; NaN equals NaN."""
    return [name for name, value in after.items() if _differs(before.get(name), value)]


def _differs(one: Tensor | None, other: Tensor) -> bool:
    if one is None or one.shape != other.shape or one.dtype != other.dtype:
        return True
    return moved_bits(one, other)


def trained_state(subject: Subject, rows: int) -> list[str]:
    """Return the names of state that is trained although it is no trained parameter.

    A step changes it, predictions depend on it, and it is a matrix or depends on the labels. The
    running statistics of a normalisation do not meet this, nor do traces and feedback weights, on
    which no prediction depends.

    Args:
        rows: number of rows of the batches.
    """
    trained: dict[str, None] = {}
    for phase in subject.phases:
        replica = subject.replica()
        before = snapshot(replica.model)
        for index in range(2):
            batch = subject.batch(index, rows)
            replica.step(index, batch, phase)
        names = changed(before, state(replica.model))
        matrices = {name for name in names if _matrix(replica, name)}
        others = set(names) - matrices - _running(replica)
        labelled = _by_label(subject, rows, phase) & others if others else set()
        trained.update(
            dict.fromkeys(
                name
                for name in names
                if name in matrices | labelled and _decides(replica, name, batch.x)
            )
        )
    return list(trained)


def _matrix(replica: SubjectReplica, name: str) -> bool:
    value = state(replica.model)[name]
    return value.is_floating_point() and sum(size > 1 for size in value.shape) > 1


def _decides(replica: SubjectReplica, name: str, x: Tensor) -> bool:
    """Return whether predictions change with one tensor of the state."""
    value = state(replica.model).get(name)
    if value is None or not value.numel():
        return False
    logits, original = replica.predict(x), value.detach().clone()
    try:
        value.data.copy_(_another(original))
        return _differs(logits, replica.predict(x))
    except Exception:
        return True  # predicting failed because of the other value
    finally:
        set_training(replica.model, True)
        value.data.copy_(original)


def _another(value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value.logical_not() if value.dtype == torch.bool else value.max() - value + 1
    generator = torch.Generator().manual_seed(0)
    size = float(value.double().square().mean().sqrt()) or 1.0
    noise = torch.rand(value.shape, generator=generator, dtype=torch.float64)
    return value + (size * (0.5 + noise)).to(value)  # a variance stays positive


def _by_label(subject: Subject, rows: int, phase: Phase | None) -> set[str]:
    """Return the names of state that differs after a step with other labels."""
    batch = subject.batch(0, rows)
    one, other = subject.replica(), subject.replica()
    one.step(0, batch, phase)
    other.step(0, relabelled(batch), phase)
    return set(changed(state(one.model), state(other.model)))


def _running(replica: SubjectReplica) -> set[str]:
    """Return the names of the running statistics of normalisations."""
    return {
        f"{path}.{name}" if path else name
        for path, module in replica.model.named_modules()
        if isinstance(module, _NormBase)
        for name, _ in module.named_buffers(recurse=False)
    }


def relabelled(batch: Batch) -> Batch:
    """Return the batch with another label for every row."""
    return Batch(batch.x, (batch.target + 1) % (batch.target.max() + 1))
