"""Schedules and optimizers equal those of PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from lbench.recipe import Recipe
from lbench.rule import Group
from lbench.training.optim import Update
from lbench.training.schedule import factor


def torch_rates(name: str, total: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler: lr_scheduler.LRScheduler
    if name == "onecycle":
        scheduler = lr_scheduler.OneCycleLR(
            optimizer, max_lr=1.0, total_steps=total, cycle_momentum=False
        )
    elif name == "cosine":
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, total)
    else:
        scheduler = lr_scheduler.MultiStepLR(optimizer, [total // 2, 3 * total // 4], gamma=0.25)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("total", [4, 40, 7036])
@pytest.mark.parametrize("name", ["onecycle", "cosine", "step"])
def test_schedules_equal_those_of_pytorch(name: str, total: int) -> None:
    recipe = Recipe(schedule=name, milestones=(0.5, 0.75))  # type: ignore[arg-type]
    rates = [factor(recipe, step, total) for step in range(total)]
    assert rates == pytest.approx(torch_rates(name, total), abs=1e-9)


def test_constant_is_constant_and_every_schedule_takes_a_single_step() -> None:
    assert {factor(Recipe(schedule="constant"), step, 10) for step in range(10)} == {1.0}
    for name in ("onecycle", "cosine", "step", "constant"):
        assert 0 < factor(Recipe(schedule=name), 0, 1) <= 1  # type: ignore[arg-type]


def group_and_reference(
    name: str, decay: float = 0.0
) -> tuple[Update, torch.optim.Optimizer, list[nn.Parameter], list[nn.Parameter]]:
    """Return an update of two parameters, PyTorch's optimizer of copies, and both lists."""
    generator = torch.Generator().manual_seed(0)
    params = [nn.Parameter(torch.randn(size, generator=generator)) for size in ((3, 5), (7,))]
    reference_params = [nn.Parameter(param.detach().clone()) for param in params]
    recipe = Recipe(optimizer=name, lr=0.1, weight_decay=decay)  # type: ignore[arg-type]
    group = Group("all", dict(zip("ab", params, strict=True)), lr=0.5, weight_decay=2.0)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    extra = {"momentum": 0.9} if name == "sgd" else {}
    reference = kind(reference_params, lr=0.05, weight_decay=2 * decay, fused=True, **extra)
    return Update(group, recipe), reference, params, reference_params


def train(
    update: Update,
    reference: torch.optim.Optimizer,
    params: list[nn.Parameter],
    reference_params: list[nn.Parameter],
    steps: range,
) -> None:
    """Make the same steps with both, and check that the parameters are equal bit for bit."""
    for step in steps:
        grads = [torch.sin(param.detach() + step) for param in params]
        update.rate(0.1)
        update(dict(zip("ab", grads, strict=True)))
        for param, grad in zip(reference_params, grads, strict=True):
            param.grad = grad
        reference.step()
        assert all(map(torch.equal, params, reference_params))


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_updates_equal_those_of_pytorch_with_the_factors_of_the_group(name: str) -> None:
    update, reference, params, reference_params = group_and_reference(name, decay=0.01)
    train(update, reference, params, reference_params, range(5))
    assert [param.grad for param in params] == [None, None]


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_an_update_continues_from_its_own_state_and_from_that_of_pytorch(name: str) -> None:
    update, reference, params, reference_params = group_and_reference(name)
    train(update, reference, params, reference_params, range(3))
    for state in (update.state_dict(), reference.state_dict()):
        resumed, plain, resumed_params, plain_params = group_and_reference(name)
        resumed.load_state_dict(state)
        plain.load_state_dict(reference.state_dict())
        for param, value in zip(
            [*resumed_params, *plain_params], [*params, *reference_params], strict=True
        ):
            param.data.copy_(value)
        train(resumed, plain, resumed_params, plain_params, range(3, 6))


def test_a_loaded_state_is_a_copy() -> None:
    update, _, _, _ = group_and_reference("adam")
    grads = {"a": torch.ones(3, 5), "b": torch.ones(7)}
    update(grads)
    state = update.state_dict()
    resumed, _, _, _ = group_and_reference("adam")
    resumed.load_state_dict(state)
    resumed(grads)
    assert state["state"][0]["step"] == 1
    assert resumed.state_dict()["state"][0]["step"] == 2


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_parameter_without_a_gradient_stays_unchanged(name: str) -> None:
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    recipe = Recipe(optimizer=name, weight_decay=0.1)  # type: ignore[arg-type]
    update = Update(Group("all", {"a": a, "b": b}), recipe)
    update({"a": torch.ones(2)})
    assert torch.equal(b, torch.ones(2))
    assert not torch.equal(a, torch.ones(2))
    # A parameter begins with its first gradient, whatever the state of the others.
    first = a.detach().clone()
    update({"a": torch.ones(2), "b": torch.ones(2)})
    assert torch.equal(b, first)


def test_a_gradient_that_does_not_fit_is_refused() -> None:
    update, _, params, _ = group_and_reference("adam")
    before = params[1].detach().clone()
    for wrong in (torch.ones(8), torch.ones(7, dtype=torch.float64)):
        with pytest.raises(RuntimeError, match="attempting to assign a gradient"):
            update({"b": wrong})
    with pytest.raises(KeyError):
        update({"c": torch.ones(7)})
    assert torch.equal(params[1], before)
