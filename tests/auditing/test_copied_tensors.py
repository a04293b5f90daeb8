"""Copies of tensors, hooks and optimizers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lbench.auditing.copies import Original
from tests.auditing.test_copies import called, copied


def test_views_of_one_storage_are_views_of_one_storage_in_the_copy() -> None:
    flat = torch.zeros(6)
    first, second = nn.Parameter(flat[:4].view(2, 2)), nn.Parameter(flat[2:])
    a, b, whole = Original({"a": first, "b": second, "c": flat}, dtype=torch.float64).copy().objects
    with torch.no_grad():
        b.fill_(1)
    assert a.tolist() == [[0, 0], [1, 1]]
    assert whole.tolist() == [0, 0, 1, 1, 1, 1]
    assert a.dtype == torch.float64
    assert flat.tolist() == [0] * 6


def test_gradients_and_attributes_of_parameters_are_copied() -> None:
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    weight.name_of_mine = [1]  # type: ignore[attr-defined]
    (twin,) = Original({"w": weight}, dtype=torch.float64).copy().objects
    assert isinstance(twin, nn.Parameter)
    assert twin.requires_grad
    assert torch.equal(twin.grad, torch.ones(2, dtype=torch.float64))
    assert twin.grad is not weight.grad
    assert twin.name_of_mine == [1]
    assert twin.name_of_mine is not weight.name_of_mine  # type: ignore[attr-defined]


def test_hooks_of_parameters_belong_to_the_copy() -> None:
    model = nn.Linear(2, 1)
    seen: list[Tensor] = []
    removed: list[int] = []
    model.weight.register_hook(lambda g: 2 * g)
    handle = model.weight.register_hook(lambda g: removed.append(1))
    model.weight.register_post_accumulate_grad_hook(seen.append)

    def step() -> tuple[Tensor, list[Tensor], int]:
        model(torch.ones(1, 2)).sum().backward()
        handle.remove()
        return model.weight, seen, len(removed)

    copy = copied(step=step, model=model)
    weight, own, calls = called(copy)
    assert weight is copy.objects[1].weight
    assert [parameter is weight for parameter in own] == [True]
    assert calls == 1
    assert weight.grad.tolist() == [[2, 2]]
    assert called(copy)[2] == 1  # the copy's handle has removed the copy's hook
    assert seen == []
    assert removed == []
    assert len(model.weight._backward_hooks or {}) == 2
    assert model.weight.grad is None


def test_hooks_of_modules_belong_to_the_copy() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    calls: dict[str, Any] = {"forward": 0, "before": 0, "backward": 0}
    outputs: dict[str, Tensor] = {}

    def forward(module: nn.Module, args: Any, output: Tensor) -> None:
        calls["forward"] += 1
        outputs["output"] = output
        assert module is model[0]

    def before(module: nn.Module, args: Any) -> None:
        calls["before"] += 1

    def backward(module: nn.Module, grads: Any, outputs: Any) -> None:
        calls["backward"] += 1

    model[0].register_forward_hook(forward)
    model[0].register_forward_pre_hook(before)
    model[0].register_full_backward_hook(backward)

    def step() -> dict[str, Any]:
        model(torch.ones(1, 2)).sum().backward()
        return calls

    for _ in range(2):
        assert called(copied(step=step, model=model)) == {"forward": 1, "before": 1, "backward": 1}
    assert set(calls.values()) == {0}
    assert outputs == {}


def test_a_weight_that_a_hook_computes_is_copied() -> None:
    model = nn.utils.weight_norm(nn.Linear(2, 2))  # its weight is no leaf
    (twin,) = Original({"m": model}, dtype=torch.float64).copy().objects
    twin(torch.ones(1, 2, dtype=torch.float64)).sum().backward()
    assert twin.weight_g.grad is not None
    assert model.weight_g.grad is None


def test_attributes_of_an_optimizer_are_copied() -> None:
    class Own(torch.optim.SGD):
        def __init__(self, params: Any) -> None:
            super().__init__(params, lr=0.1)
            self.inner = torch.optim.Adam(self.param_groups, fused=True)
            self.steps = [0]

    model = nn.Linear(2, 2)
    optimizer = Own(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    twin, other, when = copied(o=optimizer, m=model, s=scheduler).objects
    assert twin.steps == [0]
    assert twin.steps is not optimizer.steps
    assert twin.inner.param_groups[0]["params"][0] is other.weight
    assert when.optimizer is twin


def test_the_step_that_a_scheduler_wraps_is_the_copys() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)

    def step() -> None:
        optimizer.zero_grad()
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        scheduler.step()

    before = model.weight.detach().clone()
    copy = copied(step=step, model=model)
    called(copy)
    assert torch.equal(copy.objects[1].weight, before - 1)
    assert torch.equal(model.weight, before)
    assert optimizer.param_groups[0]["lr"] == 1.0
    assert not getattr(optimizer, "_opt_called", False)
