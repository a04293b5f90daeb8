"""Copies of a training step with all that it refers to, so that a measurement disturbs nothing."""

from __future__ import annotations

import copy
import functools
import types
from typing import Any, TypeVar

import torch
from torch import Tensor

from lbench.rule import Rule

AnyRule = TypeVar("AnyRule", bound=Rule)
ATOMS = (types.ModuleType, type, types.BuiltinFunctionType, str, bytes, int, float, bool)


def copied(*objects: Any, dtype: torch.dtype | None = None) -> tuple[Any, ...]:
    """Deep copies that share what the originals share; functions with what they refer to.

    A function's closure, defaults, and the objects among the module's variables that it reads are
    copied too; classes, modules and what other modules keep to themselves are not.

    Args:
        dtype: what every tensor of floating numbers among the copies becomes.
    """
    memo: dict[int, Any] = {}
    keep: list[Any] = []  # ids in the memo must not be given to other objects meanwhile
    twins = tuple(_copy(each, memo, keep) for each in objects)
    if dtype is not None:
        for twin in memo.values():
            if isinstance(twin, Tensor) and twin.is_floating_point():
                twin.data = twin.data.to(dtype)
    return twins


def twin(rule: AnyRule) -> AnyRule:
    """A copy of a rule, in training mode, with no optimizers: those of the original stay behind."""
    # Options and task cannot change.
    memo: dict[int, object] = {id(each): each for each in (rule.config, rule.task)}
    memo[id(rule._updates)] = {}
    return copy.deepcopy(rule, memo).train()


def _copy(value: Any, memo: dict[int, Any], keep: list[Any]) -> Any:
    if id(value) in memo:
        return memo[id(value)]
    keep.append(value)
    if isinstance(value, types.FunctionType):
        return _function(value, memo, keep)
    if isinstance(value, types.MethodType):
        function = _copy(value.__func__, memo, keep)
        return types.MethodType(function, _copy(value.__self__, memo, keep))
    if isinstance(value, functools.partial):
        parts = [_copy(each, memo, keep) for each in value.args]
        named = {name: _copy(each, memo, keep) for name, each in value.keywords.items()}
        return functools.partial(_copy(value.func, memo, keep), *parts, **named)
    if value is None or isinstance(value, ATOMS):
        return value
    return copy.deepcopy(value, memo)


def _function(function: types.FunctionType, memo: dict[int, Any], keep: list[Any]) -> Any:
    cells = tuple(types.CellType() for _ in function.__closure__ or ())
    variables = dict(function.__globals__)
    twin = types.FunctionType(
        function.__code__, variables, function.__name__, None, cells if cells else None
    )
    twin.__dict__.update(function.__dict__)
    memo[id(function)] = twin  # before its parts: it may refer to itself
    for cell, own in zip(cells, function.__closure__ or (), strict=True):
        try:
            cell.cell_contents = _copy(own.cell_contents, memo, keep)
        except ValueError:  # a variable that is not bound yet
            continue
    for name in _read(function.__code__):
        if name in variables and _is_own(variables[name], function):
            variables[name] = _copy(variables[name], memo, keep)
    if function.__defaults__:
        twin.__defaults__ = tuple(_copy(each, memo, keep) for each in function.__defaults__)
    if function.__kwdefaults__:
        twin.__kwdefaults__ = {
            name: _copy(each, memo, keep) for name, each in function.__kwdefaults__.items()
        }
    return twin


def _read(code: types.CodeType) -> set[str]:
    """Names that a function, and those defined inside it, may read from its module."""
    inner = [_read(each) for each in code.co_consts if isinstance(each, types.CodeType)]
    return set(code.co_names).union(*inner)


def _is_own(value: Any, function: types.FunctionType) -> bool:
    """Functions of other modules are taken as they are."""
    return not isinstance(value, types.FunctionType) or value.__module__ == function.__module__
