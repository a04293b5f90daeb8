"""A step is copied with all that it refers to, and what is shared stays shared."""

from __future__ import annotations

import functools

import torch
from torch import nn

from lbench.auditing.copying import copied

COUNTS = [0]


def reads_the_module() -> list[int]:
    COUNTS[0] += 1
    return COUNTS


def calls_another() -> list[int]:
    return reads_the_module()


def test_a_variable_of_the_module_is_copied() -> None:
    (twin,) = copied(calls_another)
    assert twin() == [1]
    assert COUNTS == [0]


def test_a_closure_shares_the_model_that_is_copied_with_it() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    def step() -> nn.Module:
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        return model

    before = model.weight.detach().clone()
    twin, other = copied(step, model)
    assert twin() is other
    assert not torch.equal(other.weight, before)
    assert torch.equal(model.weight, before)


def test_a_function_may_refer_to_itself() -> None:
    def count(n: int, seen: list[int] | None = None) -> int:
        return 0 if n == 0 else 1 + count(n - 1)

    (twin,) = copied(count)
    assert twin(5) == 5


class Holder:
    def __init__(self) -> None:
        self.values: list[int] = []

    def add(self, value: int, *, times: int = 1) -> list[int]:
        self.values += [value] * times
        return self.values


def test_methods_and_partials_have_their_own_object() -> None:
    holder = Holder()
    method, partial = copied(holder.add, functools.partial(holder.add, times=2))
    assert method(1) == [1]
    assert partial(2) == [1, 2, 2]
    assert holder.values == []


def test_defaults_are_copied() -> None:
    def collect(value: int, *, into: list[int] = []) -> list[int]:  # noqa: B006
        into.append(value)
        return into

    (twin,) = copied(collect)
    assert twin(1) == [1]
    assert collect(2) == [2]
