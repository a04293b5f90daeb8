"""Everything that an object refers to, with the name by which each thing is reached."""

from __future__ import annotations

import gc
import logging
import sys
import sysconfig
import types
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ABSENT = object()
"""The value of a place that has none."""
ATOMS = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    range,
    slice,
    Path,
    torch.dtype,
    torch.device,
    torch.Size,
    types.CodeType,
    types.FrameType,
    types.TracebackType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    logging.Logger,
)
Edge = tuple[str, Any]
"""A name, or an empty one, and the object behind it."""


@dataclass(frozen=True, slots=True)
class SharedVariable:
    """A variable that a copied object would share with the original.

    Args:
        owner: a module's dictionary, a class, a function or a closure's cell.
        name: in its owner; of a cell only for messages.
    """

    owner: Any
    name: str

    def get(self) -> Any:
        """Return its value, or ``ABSENT``."""
        if isinstance(self.owner, types.CellType):
            try:
                return self.owner.cell_contents
            except ValueError:
                return ABSENT
        if isinstance(self.owner, dict):
            return self.owner.get(self.name, ABSENT)
        if isinstance(self.owner, type):
            return vars(self.owner).get(self.name, ABSENT)
        return getattr(self.owner, self.name)

    def put(self, value: Any) -> None:
        """Set its value; ``ABSENT`` deletes it."""
        if isinstance(self.owner, types.CellType):
            if value is ABSENT:
                del self.owner.cell_contents
            else:
                self.owner.cell_contents = value
        elif isinstance(self.owner, dict):
            if value is ABSENT:
                self.owner.pop(self.name, None)
            else:
                self.owner[self.name] = value
        elif value is ABSENT:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, value)


class Walk:
    """What some objects refer to: values, and variables of functions, classes and modules.

    Functions are followed into their closures, defaults and attributes. Those of the caller's own
    modules are followed into the module's variables that they read, and the caller's own classes
    into their attributes. What the standard library, PyTorch, lbench and other installed packages
    keep in variables of their modules and classes is left out, except for the packages of the
    objects themselves.

    Args:
        roots: by a name for messages.
        apart: objects that are not followed.

    Attributes:
        found: all objects by id, in the order in which they were reached.
        places: variables that functions and classes share with their copies.
        namespaces: dictionaries of the modules that have a place.
    """

    def __init__(self, roots: dict[str, Any], apart: tuple[Any, ...] = ()) -> None:
        self.found: dict[int, Any] = {}
        self.variables: dict[tuple[int, str], SharedVariable] = {}
        self.namespaces: dict[int, dict[str, Any]] = {}
        self._home = frozenset(_top(name) for each in roots.values() for name in _modules(each))
        self._apart = {id(each) for each in apart}
        self._from: dict[int, tuple[int, str]] = {}
        self._modules_read: set[tuple[int, frozenset[str]]] = set()
        pending: list[tuple[int, str, Any]] = [(0, name, each) for name, each in roots.items()]
        while pending:
            parent, name, value = pending.pop()
            if isinstance(value, ATOMS) or id(value) in self.found or id(value) in self._apart:
                continue
            self.found[id(value)] = value
            self._from[id(value)] = (parent, name)
            pending += [(id(value), label, each) for label, each in self.edges(value)]

    def name(self, value: Any) -> str:
        """Return how an object is reached: the closest names, such as ``trainer.noise``."""
        names: list[str] = []
        at = id(value)
        while at in self._from and len(names) < 3:
            at, name = self._from[at]
            if name:
                names.append(name)
                if not name.startswith(("[", ".")):
                    break
        return "".join(reversed(names)).lstrip(".") or type(value).__name__

    def edges(self, value: Any) -> list[Edge]:
        """Return what an object refers to itself."""
        if isinstance(value, types.FunctionType):
            return list(self._function(value))
        if isinstance(value, type):
            return list(self._class(value)) if self._is_own(value.__module__) else []
        if isinstance(value, (types.ModuleType, types.GeneratorType)):
            return []
        if isinstance(value, types.MethodType):
            return [("", value.__func__), ("", value.__self__)]
        if isinstance(value, types.BuiltinFunctionType):
            return [("", value.__self__)]
        if isinstance(value, (staticmethod, classmethod)):
            return [("", value.__func__)]
        if isinstance(value, property):
            return [("", each) for each in (value.fget, value.fset, value.fdel)]
        if isinstance(value, weakref.ref):
            return [("", value())]
        return [("", type(value)), *_parts(value)]

    def _is_own(self, module: str | None) -> bool:
        return isinstance(module, str) and (_top(module) in self._home or is_authors(module))

    def _variable(self, owner: Any, name: str) -> Any:
        place = self.variables.setdefault((id(owner), name), SharedVariable(owner, name))
        return place.get()

    def _function(self, function: types.FunctionType) -> Iterator[Edge]:
        code = function.__code__
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__":
                yield name, self._variable(cell, name)
        for name in ("__defaults__", "__kwdefaults__"):
            if getattr(function, name):
                yield "", self._variable(function, name)
        module = sys.modules.get(function.__globals__.get("__name__", ""))
        whole = module is not None and vars(module) is function.__globals__
        own = not whole or self._is_own(function.__globals__["__name__"])  # else it was typed
        if own or function.__dict__:
            yield "", self._variable(function, "__dict__")
        if own:
            yield from self._read(function.__globals__, _names(code))

    def _read(self, variables: dict[str, Any], names: frozenset[str]) -> Iterator[Edge]:
        """Yield the module's variables that are read, and those of modules among them."""
        self.namespaces[id(variables)] = variables
        modules = {id(m): m for m in (sys.modules.get(name) for name in names) if m is not None}
        for name in names:
            if name in variables and not name.startswith("__"):
                value = self._variable(variables, name)
                if isinstance(value, types.ModuleType):
                    modules[id(value)] = value
                else:
                    yield name, value
        for module in modules.values():
            own = vars(module)
            read = (id(own), names.intersection(own))
            if self._is_own(module.__name__) and read not in self._modules_read:
                self._modules_read.add(read)
                yield from self._read(own, read[1])

    def _class(self, cls: type) -> Iterator[Edge]:
        for base in cls.__mro__[1:]:
            yield "", base
        if issubclass(cls, Enum):
            return
        for name, value in list(vars(cls).items()):
            if name.startswith(("__", "_abc_")):
                if isinstance(value, (types.FunctionType, classmethod, staticmethod)):
                    yield "", value
                continue
            yield f"{cls.__name__}.{name}", value
            if not isinstance(value, (types.GetSetDescriptorType, types.MemberDescriptorType)):
                self._variable(cls, name)


def _parts(value: Any) -> Iterator[Edge]:
    """Yield what an instance of a class has."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield "", key
            yield f"[{key!r}]" if isinstance(key, (str, int)) else "[…]", each
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{index}]", each) for index, each in enumerate(value))
    elif isinstance(value, Tensor):
        yield from tensor_parts(value)
    if isinstance(own := getattr(value, "__dict__", None), dict):
        yield from ((f".{name}", each) for name, each in own.items())
    if not isinstance(value, (dict, list, tuple, Tensor)):
        yield from (("", each) for each in gc.get_referents(value) if each is not own)


def tensor_parts(t: Tensor) -> Iterator[Edge]:
    """Yield a leaf's gradient and its hooks."""
    if t.is_leaf:
        yield ".grad", t.grad
        yield "", getattr(t, "_post_accumulate_grad_hooks", None)
    yield "", t._backward_hooks


@cache
def _names(code: types.CodeType) -> frozenset[str]:
    """Return the names that a function, and those defined inside it, may read from modules."""
    inner = [_names(each) for each in code.co_consts if isinstance(each, types.CodeType)]
    return frozenset(code.co_names).union(*inner)


def _modules(value: Any) -> Iterator[str]:
    """Yield where a function, or the class of an object, comes from."""
    if isinstance(value, types.MethodType):
        value = value.__self__
    classes = type(value).__mro__ if not isinstance(value, types.FunctionType) else [value]
    for each in classes:
        if not is_foundation(each.__module__):
            yield each.__module__


def _top(module: str) -> str:
    return module.partition(".")[0]


def is_foundation(module: str) -> bool:
    """Whether a module is the standard library's, PyTorch's or lbench's."""
    top = _top(module)
    return (top in sys.stdlib_module_names and module != "__main__") or top in ("torch", "lbench")


@cache
def _is_installed(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module != "__main__" and module in sys.builtin_module_names
    path = Path(file)
    installed = {"site-packages", "dist-packages"}.intersection(path.parts)
    return bool(installed) or path.is_relative_to(sysconfig.get_path("stdlib"))


def is_authors(module: str) -> bool:
    """Whether a module is a script's, a notebook's or a checkout's: no installed package's."""
    return not is_foundation(module) and not _is_installed(module)
