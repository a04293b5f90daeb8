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


def group_and_reference(
    name: str, decay: float = 0.0
) -> tuple[Update, torch.optim.Optimizer, list[nn.Parameter], list[nn.Parameter]]:
    """An update of two parameters, PyTorch's optimizer of the same, and what each changes."""
    generator = torch.Generator().manual_seed(0)
    ours = [nn.Parameter(torch.randn(size, generator=generator)) for size in ((3, 5), (7,))]
    theirs = [nn.Parameter(param.detach().clone()) for param in ours]
    recipe = Recipe(optimizer=name, lr=0.1, weight_decay=decay)  # type: ignore[arg-type]
    group = Group("all", dict(zip("ab", ours, strict=True)), lr=0.5, weight_decay=2.0)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    extra = {"momentum": 0.9} if name == "sgd" else {}
    reference = kind(theirs, lr=0.05, weight_decay=2 * decay, fused=True, **extra)
    return Update(group, recipe), reference, ours, theirs


def train(
    update: Update,
    reference: torch.optim.Optimizer,
    ours: list[nn.Parameter],
    theirs: list[nn.Parameter],
    steps: range,
) -> None:
    """Makes the same steps with both, and checks that the parameters are equal bit for bit."""
    for step in steps:
        grads = [torch.sin(param.detach() + step) for param in ours]
        update.rate(0.1)
        update(dict(zip("ab", grads, strict=True)))
        for param, grad in zip(theirs, grads, strict=True):
            param.grad = grad
        reference.step()
        assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_updates_are_pytorchs_with_the_groups_factors(name: str) -> None:
    update, reference, ours, theirs = group_and_reference(name, decay=0.01)
    train(update, reference, ours, theirs, range(5))
    assert [param.grad for param in ours] == [None, None]


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_an_update_goes_on_from_its_own_state_and_from_pytorchs(name: str) -> None:
    update, reference, ours, theirs = group_and_reference(name)
    train(update, reference, ours, theirs, range(3))
    for state in (update.state_dict(), reference.state_dict()):
        resumed, plain, mine, others = group_and_reference(name)
        resumed.load_state_dict(state)
        plain.load_state_dict(reference.state_dict())
        for param, value in zip([*mine, *others], [*ours, *theirs], strict=True):
            param.data.copy_(value)
        train(resumed, plain, mine, others, range(3, 6))


def test_a_loaded_state_is_a_copy() -> None:
    update, _, _, _ = group_and_reference("adam")
    grads = {"a": torch.ones(3, 5), "b": torch.ones(7)}
    update(grads)
    kept = update.state_dict()
    resumed, _, _, _ = group_and_reference("adam")
    resumed.load_state_dict(kept)
    resumed(grads)
    assert kept["state"][0]["step"] == 1
    assert resumed.state_dict()["state"][0]["step"] == 2


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_parameter_without_a_gradient_stays(name: str) -> None:
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    recipe = Recipe(optimizer=name, weight_decay=0.1)  # type: ignore[arg-type]
    update = Update(Group("all", {"a": a, "b": b}), recipe)
    update({"a": torch.ones(2)})
    assert torch.equal(b, torch.ones(2))
    assert not torch.equal(a, torch.ones(2))
    # The one that gets its first gradient later begins then, whatever the others remember.
    first = a.detach().clone()
    update({"a": torch.ones(2), "b": torch.ones(2)})
    assert torch.equal(b, first)


def test_a_gradient_that_does_not_fit_is_refused() -> None:
    update, _, ours, _ = group_and_reference("adam")
    before = ours[1].detach().clone()
    for wrong in (torch.ones(8), torch.ones(7, dtype=torch.float64)):
        with pytest.raises(RuntimeError, match="attempting to assign a gradient"):
            update({"b": wrong})
    with pytest.raises(KeyError):
        update({"c": torch.ones(7)})
    assert torch.equal(ours[1], before)
