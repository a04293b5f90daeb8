"""Copies of tensors that share storage where the originals do, with their gradients and hooks."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


def copy_tensors(
    tensors: Iterable[Tensor],
    memo: dict[int, Any],
    dtype: torch.dtype | None,
    as_they_are: set[int],
) -> None:
    """Put a copy of each tensor into a memo of ``copy.deepcopy``.

    Gradients, hooks and attributes are copied by :func:`copy_belongings`. The copy of a tensor
    that an operation made is a leaf without a gradient, since the graph belongs to the original.

    Args:
        dtype: type of the copies of floating-point tensors; None for that of each original.
        as_they_are: ids of tensors that keep their type.
    """
    storages: dict[tuple[int, torch.dtype], Tensor] = {}
    for t in tensors:
        own = None if id(t) in as_they_are else dtype
        if not t.is_floating_point():
            own = dtype.to_complex() if dtype and t.is_complex() else None
        if type(t) not in (Tensor, nn.Parameter):
            twin = copy.deepcopy(t if t.is_leaf else t.detach(), memo)
            if own is not None and not nn.parameter.is_lazy(twin):
                twin.data = twin.data.to(own)
        else:
            data = _data(t, own or t.dtype, storages)
            twin = nn.Parameter(data, False) if isinstance(t, nn.Parameter) else data
            twin.requires_grad_(t.is_leaf and t.requires_grad)
        memo[id(t)] = twin
        for name in HOOKS if t.is_leaf and t.requires_grad else ():
            if hooks := getattr(t, name):
                # The copy has its own dictionary: a copied handle removes its hook from it.
                setattr(twin, name, OrderedDict())
                memo[id(hooks)] = getattr(twin, name)


def copy_belongings(tensors: Iterable[Tensor], memo: dict[int, Any]) -> None:
    """Copy gradients and hooks of leaves, and attributes of all tensors, to their copies."""
    for t in tensors:
        twin = memo[id(t)]
        if t.is_leaf and t.grad is not None:
            grad = memo.get(id(t.grad))
            twin.grad = t.grad.detach().clone().to(twin.dtype) if grad is None else grad
        for name in HOOKS if t.is_leaf and t.requires_grad else ():
            for key, hook in (getattr(t, name) or {}).items():
                getattr(twin, name)[key] = copy.deepcopy(hook, memo)
        if type(t) in (Tensor, nn.Parameter) and t.__dict__:
            twin.__dict__.update(copy.deepcopy(t.__dict__, memo))


def _data(t: Tensor, dtype: torch.dtype, storages: dict[tuple[int, torch.dtype], Tensor]) -> Tensor:
    """Return a copy of a tensor's values; copies of views of one storage share a storage."""
    with torch.no_grad():
        if t.layout != torch.strided or t.device.type == "meta" or t.is_quantized or t.is_conj():
            return t.detach().clone().to(dtype)
        storage = t.untyped_storage()
        key = (storage._cdata, t.dtype)
        if key not in storages:
            count = storage.nbytes() // t.element_size()
            flat = torch.empty(0, dtype=t.dtype, device=t.device)
            flat.set_(storage, 0, (count,), (1,))
            storages[key] = flat.clone().to(dtype)
        if storages[key].dtype != dtype:
            return t.detach().clone().to(dtype)
        return storages[key].as_strided(t.size(), t.stride(), t.storage_offset())
