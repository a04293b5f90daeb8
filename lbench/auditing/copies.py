"""Copies of a training step with all that it refers to, so that a measurement disturbs nothing.

Objects are copied. Functions and classes are not: while a copy is at work, the variables that they
read (closures, defaults, variables of modules, attributes of classes) have the copy's values, and
afterwards the original's again. So a hook, a function in a list or a method finds the copy's model
and optimizer wherever it is kept.
"""

from __future__ import annotations

import copy
import functools
import io
import types
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from lbench.auditing.tensor_copies import copy_belongings, copy_tensors
from lbench.auditing.walk import ABSENT, ATOMS, SharedVariable, Walk
from lbench.errors import UsageError
from lbench.rule import Rule

AnyRule = TypeVar("AnyRule", bound=Rule)
DESCRIPTORS = (staticmethod, classmethod, property, functools.cached_property)
MOST = 32
"""Objects at most that a copy shares because they cannot be copied."""


class Original:
    """Some objects that are copied again and again.

    Args:
        roots: by a name for messages.
        apart: objects that copies share with the original.
        replaced: what copies have instead of other objects.
        dtype: of every tensor of floating numbers among the copies; None for the original's.

    Attributes:
        shared: what could not be copied, in words.

    Raises:
        UsageError: a generator or another iterator is among what the objects refer to and cannot
            be copied.
    """

    def __init__(
        self,
        roots: dict[str, Any],
        *,
        apart: tuple[Any, ...] = (),
        replaced: tuple[tuple[Any, Any], ...] = (),
        dtype: torch.dtype | None = None,
    ) -> None:
        self.walk = Walk(roots, (*apart, *(each for each, _ in replaced)))
        self.shared: list[str] = []
        self._roots = roots
        self._dtype = dtype
        self._apart = apart
        self._replaced = replaced
        self._kept: list[Any] = []
        found = list(self.walk.found.values())
        self._tensors = [each for each in found if isinstance(each, Tensor)]
        self._optimizers = [each for each in found if isinstance(each, Optimizer)]
        self._as_they_are = {id(t) for each in self._optimizers for t in _counts(each)}
        self._linked = [each for each in found if _link(each) is not None]
        self._caches = [each for each in found if isinstance(each, functools._lru_cache_wrapper)]
        self._uncopied: list[Any] = []
        self._first: Copy | None = self._copy_patiently()

    def copy(self) -> Copy:
        """Return a copy; all are alike."""
        first, self._first = self._first, None
        return first or self._copy(self._memo())

    def state(self) -> dict[str, object]:
        """Return what the objects hold that copies share with the original, by name."""
        return {f"{self.walk.name(e)} ({type(e).__name__})": _held_by(e) for e in self._uncopied}

    def fingerprint(self) -> list[tuple[int, int | None, Tensor | None]]:
        """Return what a change of one of the original's tensors would change."""
        return [(t._version, id(t.grad) if t.is_leaf else None, _values(t)) for t in self._tensors]

    def changed(self, before: list[tuple[int, int | None, Tensor | None]]) -> str | None:
        """Return the name of a tensor whose fingerprint is another one; None without any."""
        for t, (version, grad, values) in zip(self._tensors, before, strict=True):
            now = id(t.grad) if t.is_leaf else None
            if (t._version, now) != (version, grad) or (
                values is not None and not torch.equal(t.detach().nan_to_num(), values)
            ):
                return self.walk.name(t)
        return None

    def _copy_patiently(self) -> Copy:
        """Return a copy that shares with the original what cannot be copied."""
        while True:
            try:
                memo = self._memo()
                first = self._copy(memo)
                self._uncopied = [
                    each
                    for each in self.walk.found.values()
                    if memo.get(id(each), each) is each and _held_by(each)
                ]
                return first
            except Exception as error:
                values = [value for _, value in self._values()]
                culprit = self._culprit([*self._roots.values(), *values])
                if culprit is None or len(self._kept) == MOST:
                    raise
                if isinstance(culprit, Iterator) and not isinstance(culprit, io.IOBase):
                    raise self._refuse(culprit) from error
                self._kept.append(culprit)
                kind = type(culprit).__name__
                self.shared.append(f"{self.walk.name(culprit)} ({kind}: {error})")

    def _refuse(self, iterator: Any) -> UsageError:
        name, kind = self.walk.name(iterator), type(iterator).__name__
        return UsageError(
            f"What refers to {name} cannot be audited: {name} is a {kind}, which cannot be copied.",
            "Keep a list and a counter instead, or make the iterator inside the step.",
        )

    def _culprit(self, values: list[Any]) -> Any:
        """Return the innermost object that cannot be copied; None where all can."""
        for value in values:
            if isinstance(value, (*ATOMS, type)) or id(value) not in self.walk.found:
                continue
            try:
                copy.deepcopy(value, self._memo())
            except Exception:
                if isinstance(value, Iterator):
                    return value
                inner = self._culprit([each for _, each in self.walk.edges(value)])
                return value if inner is None else inner
        return None

    def _values(self) -> list[tuple[SharedVariable, Any]]:
        return [(each, each.get()) for each in self.walk.variables.values()]

    def _memo(self) -> dict[int, Any]:
        """Return a memo with all that ``copy.deepcopy`` would leave out or get wrong."""
        memo: dict[int, Any] = {id(each): each for each in (*self._apart, *self._kept)}
        memo |= {id(each): other for each, other in self._replaced}
        copy_tensors(self._tensors, memo, self._dtype, self._as_they_are)
        for each in self._optimizers:  # pickling leaves their attributes out
            memo[id(each)] = type(each).__new__(type(each))
        for each in self._linked:
            if (twin := _link(each)) is not ABSENT:
                memo[id(each)] = twin
        return memo

    def _copy(self, memo: dict[int, Any]) -> Copy:
        held: list[Any] = []
        for each in self._linked:
            _relink(each, memo, held)
        copy_belongings(self._tensors, memo)
        for each in self._optimizers:
            vars(memo[id(each)]).update(copy.deepcopy(vars(each), memo))
        objects = tuple(copy.deepcopy(each, memo) for each in self._roots.values())
        variables = [
            _Variable(place, value if _is_code(value) else copy.deepcopy(value, memo))
            for place, value in self._values()
        ]
        return Copy(objects, variables, list(self.walk.namespaces.values()), self._caches, held)


@dataclass(slots=True)
class _Variable:
    """A place and its value in a copy."""

    place: SharedVariable
    value: Any


@dataclass
class Copy:
    """A copy of some objects.

    Args:
        objects: in the order of the original's roots.
    """

    objects: tuple[Any, ...]
    _variables: list[_Variable]
    _namespaces: list[dict[str, Any]]
    _caches: list[Any]
    _held: list[Any]
    _new: list[dict[str, Any]] = field(default_factory=list)
    _inside: bool = False

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Within the context functions and classes have the copy's variables."""
        if self._inside:
            yield
            return
        before = [each.place.get() for each in self._variables]
        known = [each.keys() | () for each in self._namespaces]
        for own, names in zip(self._new, self._namespaces, strict=False):
            names.update(own)
        self._enter(before)
        try:
            yield
        finally:
            self._leave(before, known)

    def _enter(self, before: list[Any]) -> None:
        self._inside = True
        for cache in self._caches:
            cache.cache_clear()  # what it returns may be a tensor of another copy
        for each, value in zip(self._variables, before, strict=True):
            if each.value is not value:
                each.place.put(each.value)

    def _leave(self, before: list[Any], known: list[set[str]]) -> None:
        for each, value in zip(self._variables, before, strict=True):
            each.value = each.place.get()
            if each.value is not value:
                each.place.put(value)
        self._new = []
        for variables, names in zip(self._namespaces, known, strict=True):
            made = [n for n in variables.keys() - names if not n.startswith("__")]
            self._new.append({name: variables.pop(name) for name in made})
        for cache in self._caches:
            cache.cache_clear()
        self._inside = False


def twin(rule: AnyRule) -> AnyRule:
    """Return a copy of a rule in training mode, without optimizers.

    Functions that the rule keeps are shared with the original, with their closures.
    """
    # Options and task cannot change.
    memo: dict[int, object] = {id(each): each for each in (rule.config, rule.task)}
    memo[id(rule._updates)] = {}
    return copy.deepcopy(rule, memo).train()


def _values(t: Tensor) -> Tensor | None:
    """Return the values of a trained tensor, which may change without its version's notice."""
    return t.detach().nan_to_num() if t.requires_grad else None


def _held_by(value: Any) -> object:
    """Return what an object holds itself, not what that holds in turn."""
    if isinstance(value, (type, types.FunctionType, Tensor)):
        return None
    own = vars(value) if hasattr(value, "__dict__") else {}
    inner = list(value.items()) if isinstance(value, dict) else []
    if isinstance(value, (list, set, deque)):
        inner = list(enumerate(value))
    return [
        (name, each if isinstance(each, ATOMS) else id(each))
        for name, each in (*own.items(), *inner)
    ]


def _is_code(value: Any) -> bool:
    return value is ABSENT or isinstance(value, (types.ModuleType, type, *DESCRIPTORS))


def _counts(optimizer: Optimizer) -> list[Tensor]:
    """Return the counters of steps, of whose type fused kernels are particular."""
    states = [each for each in optimizer.state.values() if isinstance(each, dict)]
    return [each["step"] for each in states if isinstance(each.get("step"), Tensor)]


def _link(value: Any) -> Any:
    """Return the empty copy of what refers to others out of the sight of ``copy.deepcopy``.

    ``ABSENT`` where it can only be made together with its content; None for everything else.
    """
    if isinstance(value, torch.Generator):
        return value.clone_state()
    if isinstance(value, weakref.WeakKeyDictionary):
        return weakref.WeakKeyDictionary()
    bound = isinstance(value, types.BuiltinFunctionType) and value.__self__ is not None
    if bound and not isinstance(value.__self__, (types.ModuleType, type)):
        return ABSENT
    return ABSENT if type(value) is weakref.ref and value() is not None else None


def _relink(value: Any, memo: dict[int, Any], held: list[Any]) -> None:
    """Put a copy with its content into the memo."""
    if isinstance(value, weakref.WeakKeyDictionary):
        for key, each in value.items():
            memo[id(value)][copy.deepcopy(key, memo)] = copy.deepcopy(each, memo)
    elif isinstance(value, types.BuiltinFunctionType):
        memo[id(value)] = getattr(copy.deepcopy(value.__self__, memo), value.__name__)
    elif isinstance(value, weakref.ref):
        referent = copy.deepcopy(value(), memo)
        held.append(referent)  # else it might be gone before it is needed
        memo[id(value)] = weakref.ref(referent)
