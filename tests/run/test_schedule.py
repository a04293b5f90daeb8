"""Schedules and optimizers against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from lbench.recipe import Recipe
from lbench.rule import Group
from lbench.run.optim import Update
from lbench.run.schedule import factor


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
def test_schedules_are_pytorchs(name: str, total: int) -> None:
    recipe = Recipe(schedule=name, milestones=(0.5, 0.75))  # type: ignore[arg-type]
    ours = [factor(recipe, step, total) for step in range(total)]
    assert ours == pytest.approx(torch_rates(name, total), abs=1e-9)


def test_constant_is_constant_and_one_step_is_enough_for_any() -> None:
    assert {factor(Recipe(schedule="constant"), step, 10) for step in range(10)} == {1.0}
    for name in ("onecycle", "cosine", "step", "constant"):
        assert 0 < factor(Recipe(schedule=name), 0, 1) <= 1  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_updates_are_pytorchs_with_the_groups_factors(name: str) -> None:
    start, gradient = torch.randn(5, generator=torch.Generator().manual_seed(0)), torch.ones(5)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    recipe = Recipe(optimizer=name, lr=0.1, weight_decay=0.01)  # type: ignore[arg-type]
    update = Update(Group("all", {"w": ours}, lr=0.5, weight_decay=2.0), recipe)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    extra = {"momentum": 0.9} if name == "sgd" else {}
    reference = kind([theirs], lr=0.05, weight_decay=0.02, **extra)
    for step in range(5):
        update.rate(0.1)
        update({"w": gradient * step})
        theirs.grad = gradient * step
        reference.step()
    torch.testing.assert_close(ours, theirs)
    assert ours.grad is None


def test_a_parameter_without_a_gradient_stays() -> None:
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    update = Update(Group("all", {"a": a, "b": b}), Recipe(weight_decay=0.1))
    update({"a": torch.ones(2)})
    assert torch.equal(b, torch.ones(2))
    assert not torch.equal(a, torch.ones(2))
