"""Trace the tensors of a step to the calls that combine its data with trained parameters."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FunctionType
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor, nn
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode

from lbench.auditing.functions import (
    COMPOSITE,
    DIFFERENTIATE,
    DRAWS,
    PRODUCTS,
    RECURRENT,
    REPEATS,
    SCALES,
    elementwise,
    in_place,
)
from lbench.auditing.origins import CONSTANT, INPUT, TARGET, Origin, spread, summed, weighted
from lbench.auditing.uses import HeldUses, Use

P = ParamSpec("P")
R = TypeVar("R")


MARK = "_lbench_origin"
"""Attribute of tensors and of their storage: the number of a tracer, and an origin."""
UNMARKED = (-1, CONSTANT)
_NUMBERS = itertools.count()


class UseTracer(TorchFunctionMode):
    """Follow the tensors of a step or prediction, and record each use of a parameter.

    Args:
        model: the model whose modules are called.
        params: trained parameters by name; a tensor may have several names.
        inputs: the inputs of the batch, or of the prediction.
        target: the labels of the batch; None in a prediction.
        held: uses whose outputs are overwritten; None to record uses with their outputs.

    Attributes:
        uses: the uses recorded so far.
    """

    def __init__(
        self,
        model: nn.Module,
        params: Mapping[str, Tensor],
        inputs: Tensor,
        target: Tensor | None = None,
        held: HeldUses | None = None,
    ) -> None:
        super().__init__()
        self.uses: list[Use] = []
        self._held = held
        self._number = next(_NUMBERS)
        self._left_torch = False
        self._own: dict[int, str] = {}
        for name, p in params.items():
            self._own.setdefault(id(p), name)
        self._matrices = {name for name, p in params.items() if p.dim() > 1}
        self._own_stores: set[int] = set()
        for p in params.values():
            self._note(p, Origin(frozenset({self._own[id(p)]})))
        stores = [_store(p) for p in params.values()]
        self._own_stores |= {store._cdata for store in stores if store is not None}
        self._note(inputs, INPUT)
        if target is not None:
            self._note(target, TARGET)
        self._modules = {id(m): _names(m, self._own) for m in model.modules()}
        self._forwards = {getattr(type(m).forward, "__code__", None) for m in model.modules()}
        # Parameters of modules that are being called, with the backward pass of each call.
        self._stack: list[tuple[frozenset[str], int]] = []

    def before(self, t: Tensor) -> int:
        """Return a number whose bit ``k`` is set where a tensor was computed from use ``k``."""
        return self._origin(t).uses

    def called(self, module: nn.Module, args: Any) -> None:
        """Record that the call of a module begins; a hook of every module, before all others."""
        if (names := self._modules.get(id(module))) is None:
            return
        self._stack.append((names, torch._C._current_graph_task_id()))
        for t in _tensors(args):
            origin = self._origin(t)
            # Noise that is sent through a module counts as the module's data.
            if origin.noise and not origin.params and not origin.data:
                self._note(t, origin | INPUT)

    def returned(self, module: nn.Module, args: Any, output: Any) -> None:
        """Record that the call of a module ends; a hook of every module, before all others."""
        if id(module) in self._modules:
            self._stack.pop()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of PyTorch, and record what its outputs were computed from."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in DIFFERENTIATE:
            with self:
                output = _opened(func)(*args, **kwargs)
            for t in _tensors(output):
                self._note(t, TARGET)
            return output
        given: list[tuple[Tensor, Origin]] | None = None
        if name in COMPOSITE:
            given = self._given(name, args, kwargs)
            if weighted(given):
                with self:
                    return _opened(func)(*args, **kwargs)
        output = func(*args, **kwargs)
        changed = _tensors(args[:1]) if in_place(name) else _tensors(kwargs.get("out"))
        if (outputs := _tensors(output)) or changed:
            given = self._given(name, args, kwargs) if given is None else given
            if weighted(given) and not any(id(t) in self._own for t in changed):
                total = self._used(name, given, outputs or changed)
            else:
                total = self._total(func, name, given)
            for t in (*outputs, *changed):
                if id(t) not in self._own and self._origin(t) != total:
                    self._note(t, total)
        elif name in ("numpy", "item", "tolist", "__array__"):
            self._left_torch |= any(o.data for _, o in self._given(name, args, kwargs))
        return output

    def _given(self, name: str, args: Any, kwargs: Any) -> list[tuple[Tensor, Origin]]:
        tensors = _tensors(args)
        if kwargs:
            tensors += _tensors(kwargs)
        given = [(t, self._origin(t)) for t in tensors]
        if name in ("__getitem__", "__setitem__") and len(args) > 1:
            # An index, such as the choice of an expert, passes no error back.
            indices = {id(t) for t in _tensors(args[1:2])}
            given = [(t, replace(o, uses=0) if id(t) in indices else o) for t, o in given]
        return given

    def _total(self, func: Any, name: str, given: Sequence[tuple[Tensor, Origin]]) -> Origin:
        if func == GRAD:
            return TARGET
        total = Origin(noise=True) if name in DRAWS else CONSTANT
        for _, origin in given:
            if origin is not total:
                total |= origin
        if total.data and total.params:  # a parameter's own update
            total = replace(total, params=frozenset())
        if name in REPEATS and total.data:
            total = replace(total, repeated=True)
        if not given and self._left_torch and name in ("tensor", "as_tensor", "from_numpy"):
            total |= INPUT
        return total

    def _used(
        self, name: str, given: Sequence[tuple[Tensor, Origin]], outputs: list[Tensor]
    ) -> Origin:
        """Record a use, hold its outputs where required, and return their origin."""
        total, params, matrices = CONSTANT, set[str](), set[str]()
        for t, origin in given:
            if not origin.weight:
                total |= origin
                continue
            params |= origin.params
            if t.dim() > 1 or (name in PRODUCTS and t.numel() > 1):
                matrices |= origin.params
        contracts = bool(matrices) and not elementwise(name)
        # Outside of a forward pass it is part of an update, such as Oja's decay.
        over = spread(name, given, self._matrices) if self._stack else _NONE
        joins = not elementwise(name) and sum(t.numel() > 1 for t, _ in given) > 1
        over_now = summed(name, given, outputs, joins=joins)
        if matrices and not contracts and all(t.numel() == 1 for t, o in given if o.data):
            return Origin(frozenset(params))  # a matrix times one number stays a matrix
        if torch._C._current_graph_task_id() != (self._stack[-1][1] if self._stack else -1):
            return total  # part of a backward pass
        if over and name in SCALES:
            return replace(total, scaled=total.scaled | over)
        if over_now:
            params |= over_now
            matrices |= over_now
            contracts = True
        elif not params:
            return replace(total, scaled=_NONE, shifted=_NONE) if joins else total
        use = Use(
            frozenset(params),
            frozenset(matrices),
            contracts,
            _NONE if over else self._inside(params),
            bool(self._stack) and not over,
            total.target,
            name in RECURRENT,
            _groups(name, given),
            total.uses,
            [],
        )
        values = [_unwrapped(t) for t in outputs]
        if self._held is not None:
            self._held.hold(use, values)
        else:
            with temporarily_clear_interpreter_stack():
                use.outputs += [t.detach().clone() for t in values]
        if over:
            total = replace(total, shifted=total.shifted | over)
        if contracts:
            total = Origin(
                data=True,
                target=total.target,
                noise=total.noise,
                uses=total.uses | 1 << len(self.uses),
            )
        self.uses.append(use)
        return total

    def _inside(self, params: set[str]) -> frozenset[str]:
        called = frozenset(name for names, _ in self._stack for name in names)
        return frozenset(params) & (called if params <= called else called | self._entered())

    def _entered(self) -> frozenset[str]:
        """Return the parameters of modules whose forward method is running.

        They are read from the call stack, since ``layer.forward(x)`` calls no hooks.
        """
        params = frozenset[str]()
        frame = sys._getframe()
        while (outer := frame.f_back) is not None:
            frame, code = outer, outer.f_code
            if code in self._forwards and code.co_argcount:
                module = frame.f_locals.get(code.co_varnames[0])
                params |= self._modules.get(id(module), frozenset())
        return params

    def _origin(self, t: Tensor) -> Origin:
        number, origin = t.__dict__.get(MARK, UNMARKED)
        if number == self._number:
            return cast(Origin, origin)
        # Results of a custom function or a transform of torch.func are known by their storage.
        if (store := _store(t)) is not None:
            number, origin = store.__dict__.get(MARK, UNMARKED)
        if number == self._number:
            return cast(Origin, origin)
        return INPUT if self._left_torch and _foreign(t) else CONSTANT

    def _note(self, t: Tensor, origin: Origin) -> None:
        # The mark is an attribute of the tensor, so it is freed with it and keeps nothing alive.
        mark = t.__dict__[MARK] = (self._number, origin)
        if (store := _store(t)) is not None and store._cdata not in self._own_stores:
            store.__dict__[MARK] = mark


_NONE = frozenset[str]()
GRAD: Any = vars(torch._C.TensorBase)["grad"].__get__
_OPENED: dict[FunctionType, FunctionType] = {}


def untraced(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function of the audit that runs during a step, so that no tracer follows it."""

    @functools.wraps(function)
    def plain(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch._C.DisableTorchFunction():
            return function(*args, **kwargs)

    return plain


@contextmanager
def tracing(tracer: UseTracer) -> Iterator[UseTracer]:
    """Trace a step or prediction within the context."""
    # Global hooks: the model may make modules while it runs, and these precede a module's own.
    handles = [
        register_module_forward_pre_hook(tracer.called),
        register_module_forward_hook(tracer.returned, always_call=True),
    ]
    try:
        with tracer:
            yield tracer
    finally:
        for handle in handles:
            handle.remove()


def _opened(function: Any) -> Any:
    """Return a function of PyTorch that is not overridden itself, while the calls inside it are."""
    if not isinstance(function, FunctionType):
        return function
    if function not in _OPENED:
        checks = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
        variables = {**function.__globals__, **dict.fromkeys(checks, _never)}
        opened = FunctionType(
            function.__code__,
            variables,
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        opened.__kwdefaults__ = function.__kwdefaults__
        _OPENED[function] = opened
    return _OPENED[function]


def _groups(name: str, given: Sequence[tuple[Tensor, Origin]]) -> int:
    """Return the channel groups of a convolution, from the shapes of its input and weight."""
    if not name.startswith("conv") or "transpose" in name:
        return 1
    (x, _), (weight, _), *_ = given
    return max(1, x.shape[1] // weight.shape[1])


def _never(*args: Any) -> bool:
    return False


def _foreign(t: Tensor) -> bool:
    """Return whether a tensor's memory is not PyTorch's own, such as that of a NumPy array."""
    try:
        return not _unwrapped(t).untyped_storage().resizable()
    except (RuntimeError, NotImplementedError):
        return False


def _tensors(value: Any) -> list[Tensor]:
    """Return the tensors in a value, including those in containers."""
    if isinstance(value, Tensor):
        return [value]
    if type(value) is torch.Size:
        return []
    if isinstance(value, tuple | list | set | frozenset):
        tensors = []
        for item in value:
            if isinstance(item, Tensor):
                tensors.append(item)
            elif isinstance(item, tuple | list | set | frozenset | Mapping):
                tensors += _tensors(item)
        return tensors
    return _tensors(list(value.values())) if isinstance(value, Mapping) else []


def _unwrapped(t: Tensor) -> Tensor:
    """Return the tensor inside the wrappers of torch.func's transforms."""
    while torch._C._functorch.is_functorch_wrapped_tensor(t):
        t = torch._C._functorch.get_unwrapped(t)
    return t


def _store(t: Tensor) -> torch.UntypedStorage | None:
    """Return the storage of a tensor; None where it has none of its own, as a sparse tensor."""
    try:
        return _unwrapped(t).untyped_storage()
    except (RuntimeError, NotImplementedError):
        return None


def _names(module: nn.Module, own: Mapping[int, str]) -> frozenset[str]:
    """Return the first names of the parameters of a module itself.

    They include parameters behind parametrizations, and those in containers that cannot be called.
    """
    params = [*module.parameters(recurse=False)]
    names = set[str]()
    for name, inner in module.named_children():
        if name == "parametrizations":
            params += inner.parameters()
        elif type(inner).forward is nn.Module.forward:
            names |= _names(inner, own)
    return frozenset(names | {own[id(p)] for p in params if id(p) in own})
