"""A step is copied with everything that it refers to, and shared objects stay shared."""

from __future__ import annotations

import functools
import gc
import random
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lbench.auditing.copies import Copy, Original
from lbench.errors import UsageError

COUNTS = [0]
NUMBER = 0


def copied(**roots: Any) -> Copy:
    return Original(roots).copy()


def called(copy: Copy, *args: Any) -> Any:
    with copy.inside():
        return copy.objects[0](*args)


def reads_the_module() -> list[int]:
    COUNTS[0] += 1
    return COUNTS


def calls_another() -> list[int]:
    return reads_the_module()


def test_a_variable_of_the_module_is_copied() -> None:
    copy = copied(step=calls_another)
    assert called(copy) == [1]
    assert called(copy) == [2]
    assert COUNTS == [0]


def writes_the_module() -> int:
    global NUMBER
    NUMBER += 1
    return reads_the_number()


def reads_the_number() -> int:
    return NUMBER


def test_functions_of_a_module_share_a_variable_that_one_of_them_sets() -> None:
    copies = [copied(step=writes_the_module) for _ in range(2)]
    assert [called(copies[0]), called(copies[0]), called(copies[1])] == [1, 2, 1]
    assert NUMBER == 0


def makes_a_variable() -> int:
    global MADE
    MADE = globals().get("MADE", 0) + 1  # type: ignore[name-defined]
    made: int = MADE
    return made


def test_a_variable_that_a_copy_makes_stays_with_it() -> None:
    copy = copied(step=makes_a_variable)
    assert [called(copy), called(copy)] == [1, 2]
    assert "MADE" not in globals()
    assert called(copied(step=makes_a_variable)) == 1


def test_a_closure_shares_the_model_that_is_copied_with_it() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    def step() -> nn.Module:
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        return model

    before = model.weight.detach().clone()
    copy = copied(step=step, model=model)
    assert called(copy) is copy.objects[1]
    assert not torch.equal(copy.objects[1].weight, before)
    assert torch.equal(model.weight, before)


def test_a_function_may_refer_to_itself() -> None:
    def count(n: int, seen: list[int] | None = None) -> int:
        return 0 if n == 0 else 1 + count(n - 1)

    assert called(copied(step=count), 5) == 5


class Holder:
    total: ClassVar[int] = 0
    every: ClassVar[list[int]] = []

    def __init__(self) -> None:
        self.values: list[int] = []

    def add(self, value: int, *, times: int = 1) -> list[int]:
        self.values += [value] * times
        return self.values

    def count(self) -> tuple[int, int, int]:
        type(self).total += 1
        Holder.every.append(1)
        COUNTS[0] += 1
        return Holder.total, len(self.every), COUNTS[0]


def test_methods_and_partials_have_the_copys_object() -> None:
    holder = Holder()
    copy = copied(step=holder.add, partial=functools.partial(holder.add, times=2))
    assert called(copy, 1) == [1]
    assert copy.objects[1](2) == [1, 2, 2]
    assert holder.values == []


def test_attributes_of_classes_and_module_variables_that_methods_read_are_copied() -> None:
    copies = [copied(step=Holder().count) for _ in range(2)]
    assert called(copies[0]) == (1, 1, 1)
    assert called(copies[0]) == (2, 2, 2)
    assert called(copies[1]) == (1, 1, 1)
    assert (Holder.total, Holder.every, COUNTS) == (0, [], [0])


def test_defaults_and_attributes_of_functions_are_copied() -> None:
    def collect(value: int, *, into: list[int] = []) -> list[int]:  # noqa: B006
        into.append(value)
        collect.calls = getattr(collect, "calls", 0) + 1  # type: ignore[attr-defined]
        return [*into, collect.calls]  # type: ignore[attr-defined]

    copy = copied(step=collect)
    assert called(copy, 1) == [1, 1]
    assert called(copy, 1) == [1, 1, 2]
    assert collect(2) == [2, 1]


def counter() -> Callable[[], int]:
    count = 0

    def inner() -> int:
        nonlocal count
        count += 1
        return count

    return inner


class Object:
    def __init__(self, function: Callable[[], int]) -> None:
        self.function = function


class Slots:
    __slots__ = ("function",)

    def __init__(self, function: Callable[[], int]) -> None:
        self.function = function


def decorated(function: Callable[[], int]) -> Callable[[], int]:
    @functools.wraps(function)
    def wrapper() -> int:
        return function()

    return wrapper


HOLDERS: dict[str, Callable[[Callable[[], int]], Any]] = {
    "list": lambda f: [f],
    "dict": lambda f: {"f": f},
    "defaultdict": lambda f: defaultdict(int, {"f": f}),
    "deque": lambda f: deque([f]),
    "set": lambda f: {f},
    "attribute": Object,
    "slot": Slots,
    "partial": functools.partial,
    "decorator": decorated,
    "lambda": lambda f: lambda: f(),
    "nested": lambda f: {"a": [(Object(lambda: f()),)]},
    "weak reference": lambda f: (f, weakref.ref(f)),
    "bound": lambda f: Object(f).__getattribute__,
}


@pytest.mark.parametrize("kind", HOLDERS)
def test_a_closure_is_copied_wherever_its_function_is_kept(kind: str) -> None:
    count = counter()
    held = HOLDERS[kind](count)

    def step() -> int:
        assert held is not None
        return count()

    copies = [copied(step=step) for _ in range(2)]
    assert [called(copies[0]), called(copies[0]), called(copies[1])] == [1, 2, 1]
    only = [Original({"held": held}).copy() for _ in range(2)]
    for copy in only:
        with copy.inside():
            assert count() == 1
    assert count() == 1


STATES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "list": (lambda: [0], lambda s: s.append(1) or len(s)),
    "dict": (dict, lambda s: s.update({len(s): 1}) or len(s)),
    "set": (set, lambda s: s.add(len(s)) or len(s)),
    "deque": (deque, lambda s: s.append(1) or len(s)),
    "ordered": (OrderedDict, lambda s: s.update({len(s): 1}) or len(s)),
    "array": (lambda: np.zeros(1), lambda s: s.__iadd__(1).item()),
    "tensor": (lambda: torch.zeros(1), lambda s: s.add_(1).item()),
    "bytes": (bytearray, lambda s: s.append(1) or len(s)),
    "list iterator": (lambda: iter([1, 2, 3]), next),
    "counting": (lambda: __import__("itertools").count(), next),
    "random": (lambda: random.Random(0), lambda s: s.random()),
    "numpy": (lambda: np.random.default_rng(0), lambda s: s.random()),
    "torch": (torch.Generator, lambda s: torch.rand((), generator=s).item()),
    "bound method": (lambda: [0].append, lambda s: s(1) or len(s.__self__)),
}


@pytest.mark.parametrize("kind", STATES)
def test_state_of_any_kind_belongs_to_its_copy(kind: str) -> None:
    make, use = STATES[kind]
    state = make()
    copies = [copied(step=lambda: use(state)) for _ in range(2)]
    first = [called(copies[0]), called(copies[0])]
    assert first[0] != first[1]
    assert [called(copies[1]), called(copies[1])] == first
    assert use(state) == first[0]


def test_a_cached_function_keeps_nothing_from_one_copy_to_the_next() -> None:
    calls = [0]

    @functools.cache
    def mask() -> Tensor:
        calls[0] += 1
        return torch.zeros(1)

    def step() -> float:
        return mask().add_(1).item()

    copies = [copied(step=step) for _ in range(2)]
    assert [called(copies[0]), called(copies[1])] == [1, 1]
    assert mask().item() == 0
    assert calls == [1]


def test_a_generator_cannot_be_copied_and_is_named() -> None:
    noise = (value for value in range(3))
    holder = Object(counter())
    holder.noise = [noise]  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"noise cannot be audited: noise is a generator"):
        Original({"step": lambda: next(noise)})
    with pytest.raises(UsageError, match=r"holder\.noise\[0\] is a generator"):
        Original({"step": lambda: next(holder.noise[0])})  # type: ignore[attr-defined]


def test_what_cannot_be_copied_is_shared_and_named(tmp_path: Any) -> None:
    with (tmp_path / "log").open("w") as log:
        values: list[int] = []

        def step() -> list[int]:
            log.write("x")
            values.append(1)
            return values

        original = Original({"step": step})
        assert called(original.copy()) == [1]
        assert values == []
        assert [value.partition(" ")[0] for value in original.shared] == ["log"]


def test_a_copy_is_undone_when_a_step_fails() -> None:
    def step() -> None:
        COUNTS.append(1)
        raise ValueError("no step")

    copy = copied(step=step)
    with pytest.raises(ValueError, match="no step"):
        called(copy)
    assert COUNTS == [0]


def test_copies_are_freed() -> None:
    model = nn.Linear(2, 2)
    original = Original({"step": lambda: model})
    copy = original.copy()
    twin = weakref.ref(called(copy))
    del copy
    gc.collect()
    assert twin() is None


def iterate() -> Iterator[int]:
    yield 1


def test_a_function_that_makes_generators_is_copied() -> None:
    assert called(copied(step=lambda: list(iterate()))) == [1]
