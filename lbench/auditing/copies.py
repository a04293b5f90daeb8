"""Copies of a training step with everything that it refers to, so that measurements change nothing.

Objects are copied. Functions and classes are not: while a copy is in use, the variables that they
read (closures, defaults, variables of modules, attributes of classes) have the copy's values, and
afterwards the original's again. So a hook, a function in a list or a method uses the model and
optimizer of the copy, wherever it is stored.
"""

from __future__ import annotations

import copy
import functools
import io
import types
import weakref
from collections import OrderedDict, deque
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
"""Largest number of objects that a copy may share because they cannot be copied."""


class Original:
    """Objects that are copied many times.

    Args:
        roots: the objects, by a name that messages use.
        excluded: objects that copies share with the original.
        replaced: pairs of an object and its replacement in copies.
        dtype: type of all floating-point tensors among the copies; None for the original's.

    Attributes:
        shared: descriptions of the objects that could not be copied.

    Raises:
        UsageError: the objects refer to a generator or another iterator that cannot be copied.
    """

    def __init__(
        self,
        roots: dict[str, Any],
        *,
        excluded: tuple[Any, ...] = (),
        replaced: tuple[tuple[Any, Any], ...] = (),
        dtype: torch.dtype | None = None,
    ) -> None:
        self.walk = Walk(roots, (*excluded, *(value for value, _ in replaced)))
        self.shared: list[str] = []
        self._roots = roots
        self._dtype = dtype
        self._excluded = excluded
        self._replaced = replaced
        self._not_copied: list[Any] = []
        objects = list(self.walk.objects.values())
        self._tensors = [value for value in objects if isinstance(value, Tensor)]
        self._optimizers = [value for value in objects if isinstance(value, Optimizer)]
        self._as_they_are = {id(t) for optimizer in self._optimizers for t in _counts(optimizer)}
        self._linked = [value for value in objects if _link(value) is not None]
        # Each module has about nine of these, for hooks; copy.deepcopy is slow on them.
        self._empty = [o for o in objects if type(o) is OrderedDict and not o and not vars(o)]
        self._caches = [o for o in objects if isinstance(o, functools._lru_cache_wrapper)]
        self._with_state: list[Any] = []
        self._first: Copy | None = self._copy_patiently()

    def copy(self) -> Copy:
        """Return a copy; all copies are alike."""
        first, self._first = self._first, None
        return first or self._copy(self._memo())

    def state(self) -> dict[str, object]:
        """Return the contents, by name, of the objects that copies share with the original."""
        return {f"{self.walk.name(e)} ({type(e).__name__})": _contents(e) for e in self._with_state}

    def fingerprint(self) -> list[tuple[int, int | None, Tensor | None]]:
        """Return versions, gradients and values of the original's tensors, to detect changes."""
        return [(t._version, id(t.grad) if t.is_leaf else None, _values(t)) for t in self._tensors]

    def changed(self, before: list[tuple[int, int | None, Tensor | None]]) -> str | None:
        """Return the name of a tensor whose fingerprint has changed; None where none has."""
        for t, (version, grad, values) in zip(self._tensors, before, strict=True):
            now = id(t.grad) if t.is_leaf else None
            if (t._version, now) != (version, grad) or (
                values is not None and not torch.equal(t.detach().nan_to_num(), values)
            ):
                return self.walk.name(t)
        return None

    def _copy_patiently(self) -> Copy:
        """Return a first copy, which shares with the original what cannot be copied."""
        while True:
            try:
                memo = self._memo()
                first = self._copy(memo)
                self._with_state = [
                    value
                    for value in self.walk.objects.values()
                    if memo.get(id(value), value) is value and _contents(value)
                ]
                return first
            except Exception as error:
                values = [value for _, value in self._values()]
                culprit = self._culprit([*self._roots.values(), *values])
                if culprit is None or len(self._not_copied) == MOST:
                    raise
                if isinstance(culprit, Iterator) and not isinstance(culprit, io.IOBase):
                    raise self._refuse(culprit) from error
                self._not_copied.append(culprit)
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
            if isinstance(value, (*ATOMS, type)) or id(value) not in self.walk.objects:
                continue
            try:
                copy.deepcopy(value, self._memo())
            except Exception:
                if isinstance(value, Iterator):
                    return value
                inner = self._culprit([target for _, target in self.walk.edges(value)])
                return value if inner is None else inner
        return None

    def _values(self) -> list[tuple[SharedVariable, Any]]:
        return [(variable, variable.get()) for variable in self.walk.variables.values()]

    def _memo(self) -> dict[int, Any]:
        """Return a memo with everything that ``copy.deepcopy`` would omit or copy wrongly."""
        memo: dict[int, Any] = {id(o): o for o in (*self._excluded, *self._not_copied)}
        memo |= {id(value): OrderedDict() for value in self._empty}
        memo |= {id(value): other for value, other in self._replaced}
        copy_tensors(self._tensors, memo, self._dtype, self._as_they_are)
        for optimizer in self._optimizers:  # pickling omits their attributes
            memo[id(optimizer)] = type(optimizer).__new__(type(optimizer))
        for value in self._linked:
            if (twin := _link(value)) is not ABSENT:
                memo[id(value)] = twin
        return memo

    def _copy(self, memo: dict[int, Any]) -> Copy:
        referents: list[Any] = []
        for value in self._linked:
            _relink(value, memo, referents)
        copy_belongings(self._tensors, memo)
        for optimizer in self._optimizers:
            vars(memo[id(optimizer)]).update(copy.deepcopy(vars(optimizer), memo))
        objects = tuple(copy.deepcopy(root, memo) for root in self._roots.values())
        variables = [
            _CopiedVariable(shared, value if _is_code(value) else copy.deepcopy(value, memo))
            for shared, value in self._values()
        ]
        namespaces = list(self.walk.namespaces.values())
        return Copy(objects, variables, namespaces, self._caches, referents)


@dataclass(slots=True)
class _CopiedVariable:
    """A shared variable and its value in a copy."""

    shared: SharedVariable
    value: Any


@dataclass
class Copy:
    """A copy of some objects.

    Args:
        objects: the copied objects, in the order of the original's roots.
    """

    objects: tuple[Any, ...]
    _variables: list[_CopiedVariable]
    _namespaces: list[dict[str, Any]]
    _caches: list[Any]
    _referents: list[Any]
    _new: list[dict[str, Any]] = field(default_factory=list)
    _inside: bool = False

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Give functions and classes the copy's variables within the context."""
        if self._inside:
            yield
            return
        before = [variable.shared.get() for variable in self._variables]
        known = [namespace.keys() | () for namespace in self._namespaces]
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
            cache.cache_clear()  # it may hold a tensor of another copy
        for variable, value in zip(self._variables, before, strict=True):
            if variable.value is not value:
                variable.shared.put(variable.value)

    def _leave(self, before: list[Any], known: list[set[str]]) -> None:
        for variable, value in zip(self._variables, before, strict=True):
            variable.value = variable.shared.get()
            if variable.value is not value:
                variable.shared.put(value)
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
    memo: dict[int, object] = {id(value): value for value in (rule.config, rule.task)}
    memo[id(rule._updates)] = {}
    return copy.deepcopy(rule, memo).train()


def _values(t: Tensor) -> Tensor | None:
    """Return the values of a trained tensor, which may change while its version does not."""
    return t.detach().nan_to_num() if t.requires_grad else None


def _contents(value: Any) -> object:
    """Return the direct contents of an object: atoms, and ids of other objects."""
    if isinstance(value, (type, types.FunctionType, Tensor)):
        return None
    own = vars(value) if hasattr(value, "__dict__") else {}
    inner = list(value.items()) if isinstance(value, dict) else []
    if isinstance(value, (list, set, deque)):
        inner = list(enumerate(value))
    return [
        (name, item if isinstance(item, ATOMS) else id(item))
        for name, item in (*own.items(), *inner)
    ]


def _is_code(value: Any) -> bool:
    return value is ABSENT or isinstance(value, (types.ModuleType, type, *DESCRIPTORS))


def _counts(optimizer: Optimizer) -> list[Tensor]:
    """Return the step counters of an optimizer; fused kernels require their type."""
    states = [state for state in optimizer.state.values() if isinstance(state, dict)]
    return [state["step"] for state in states if isinstance(state.get("step"), Tensor)]


def _link(value: Any) -> Any:
    """Return an empty copy of an object whose references ``copy.deepcopy`` does not follow.

    Return ``ABSENT`` where it can only be made together with its content, and None for all other
    objects.
    """
    if isinstance(value, torch.Generator):
        return value.clone_state()
    if isinstance(value, weakref.WeakKeyDictionary):
        return weakref.WeakKeyDictionary()
    bound = isinstance(value, types.BuiltinFunctionType) and value.__self__ is not None
    if bound and not isinstance(value.__self__, (types.ModuleType, type)):
        return ABSENT
    return ABSENT if type(value) is weakref.ref and value() is not None else None


def _relink(value: Any, memo: dict[int, Any], referents: list[Any]) -> None:
    """Put a copy with its content into the memo; ``referents`` keeps weakly held copies alive."""
    if isinstance(value, weakref.WeakKeyDictionary):
        for key, item in value.items():
            memo[id(value)][copy.deepcopy(key, memo)] = copy.deepcopy(item, memo)
    elif isinstance(value, types.BuiltinFunctionType):
        memo[id(value)] = getattr(copy.deepcopy(value.__self__, memo), value.__name__)
    elif isinstance(value, weakref.ref):
        referent = copy.deepcopy(value(), memo)
        referents.append(referent)  # otherwise it could be freed before it is needed
        memo[id(value)] = weakref.ref(referent)
