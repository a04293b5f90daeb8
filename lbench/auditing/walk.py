"""Everything that an object refers to, with the names by which it is reached."""

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
"""The value of a variable that is not set."""
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
"""A name, which may be empty, and the object that it refers to."""


@dataclass(frozen=True, slots=True)
class SharedVariable:
    """A variable that a copied object would share with the original.

    Args:
        owner: a module's dictionary, a class, a function or a closure's cell.
        name: its name in the owner; for a cell, used in messages only.
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
    """What objects refer to: values, and variables of functions, classes and modules.

    Functions are followed into their closures, defaults and attributes. Functions of the caller's
    own modules are also followed into the module variables that they read, and the caller's own
    classes into their attributes. Variables in modules and classes of the standard library,
    PyTorch, lbench and other installed packages are left out, except for the packages of the
    objects themselves.

    Args:
        roots: the objects, by a name that messages use.
        excluded: objects that are not followed.

    Attributes:
        objects: all objects by id, in the order in which they were reached.
        variables: variables that functions and classes share with their copies.
        namespaces: dictionaries of the modules that have a shared variable.
    """

    def __init__(self, roots: dict[str, Any], excluded: tuple[Any, ...] = ()) -> None:
        self.objects: dict[int, Any] = {}
        self.variables: dict[tuple[int, str], SharedVariable] = {}
        self.namespaces: dict[int, dict[str, Any]] = {}
        self._home = frozenset(_top(name) for root in roots.values() for name in _modules(root))
        self._excluded = {id(value) for value in excluded}
        self._from: dict[int, tuple[int, str]] = {}
        self._modules_read: set[tuple[int, frozenset[str]]] = set()
        pending: list[tuple[int, str, Any]] = [(0, name, root) for name, root in roots.items()]
        while pending:
            parent, name, value = pending.pop()
            if isinstance(value, ATOMS) or id(value) in self.objects or id(value) in self._excluded:
                continue
            self.objects[id(value)] = value
            self._from[id(value)] = (parent, name)
            pending += [(id(value), label, target) for label, target in self.edges(value)]

    def name(self, value: Any) -> str:
        """Return the closest names by which an object is reached, such as ``trainer.noise``."""
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
        """Return the objects to which an object refers directly."""
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
            return [("", function) for function in (value.fget, value.fset, value.fdel)]
        if isinstance(value, weakref.ref):
            return [("", value())]
        return [("", type(value)), *_parts(value)]

    def _is_own(self, module: str | None) -> bool:
        return isinstance(module, str) and (_top(module) in self._home or is_authors(module))

    def _variable(self, owner: Any, name: str) -> Any:
        variable = self.variables.setdefault((id(owner), name), SharedVariable(owner, name))
        return variable.get()

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
        # A function whose globals are no module's was typed or executed by the author.
        own = not whole or self._is_own(function.__globals__["__name__"])
        if own or function.__dict__:
            yield "", self._variable(function, "__dict__")
        if own:
            yield from self._read(function.__globals__, _names(code))

    def _read(self, variables: dict[str, Any], names: frozenset[str]) -> Iterator[Edge]:
        """Yield the module variables with these names, and those of modules among them."""
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
    """Yield the contents and attributes of an instance."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield "", key
            yield f"[{key!r}]" if isinstance(key, (str, int)) else "[…]", item
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, Tensor):
        yield from tensor_parts(value)
    if isinstance(own := getattr(value, "__dict__", None), dict):
        yield from ((f".{name}", attribute) for name, attribute in own.items())
    if not isinstance(value, (dict, list, tuple, Tensor)):
        yield from (("", part) for part in gc.get_referents(value) if part is not own)


def tensor_parts(t: Tensor) -> Iterator[Edge]:
    """Yield a leaf's gradient and its hooks."""
    if t.is_leaf:
        yield ".grad", t.grad
        yield "", getattr(t, "_post_accumulate_grad_hooks", None)
    yield "", t._backward_hooks


@cache
def _names(code: types.CodeType) -> frozenset[str]:
    """Return the names that a function, and those defined inside it, may read from modules."""
    inner = [_names(const) for const in code.co_consts if isinstance(const, types.CodeType)]
    return frozenset(code.co_names).union(*inner)


def _modules(value: Any) -> Iterator[str]:
    """Yield the modules of a function, or of the classes of an object."""
    if isinstance(value, types.MethodType):
        value = value.__self__
    classes = type(value).__mro__ if not isinstance(value, types.FunctionType) else [value]
    for source in classes:
        if not is_foundation(source.__module__):
            yield source.__module__


def _top(module: str) -> str:
    return module.partition(".")[0]


def is_foundation(module: str) -> bool:
    """Return whether a module belongs to the standard library, PyTorch or lbench."""
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
    """Return whether a module is from a script, notebook or checkout, not an installed package."""
    return not is_foundation(module) and not _is_installed(module)
