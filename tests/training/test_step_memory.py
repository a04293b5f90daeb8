"""The memory of a step is the peak of the bytes in tensors that it creates."""

from __future__ import annotations

from pathlib import Path

import torch

from lbench.init import Init
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.registry import registry
from lbench.rundir import RunDir, read_json
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.training.optim import Update
from lbench.training.step_memory import Lifetimes, StepMemory
from tests.training.helper import ask, run

FLOAT = 4


def test_tensors_count_as_long_as_they_exist() -> None:
    x = torch.ones(1000)
    with Lifetimes() as lifetimes:
        a = x + 1
        b = a * 2
        del a
        c = b.exp()
        assert lifetimes.peak == 2 * 1000 * FLOAT
        del b, c
        _ = x.sum()
    assert lifetimes.peak == 2 * 1000 * FLOAT


def test_views_and_changes_in_place_take_no_memory() -> None:
    x = torch.ones(10, 100)
    with Lifetimes() as lifetimes:
        _ = x.view(1000).T.mul_(2)[5:].add_(1)
    assert lifetimes.peak == 0


def test_tensors_that_autograd_keeps_count_until_the_backward_pass_is_over() -> None:
    x = torch.ones(1000, requires_grad=True)
    with Lifetimes() as lifetimes:
        loss = x.exp().exp().exp().sum()  # autograd keeps each result
        assert lifetimes.peak == 3 * 1000 * FLOAT + FLOAT
        (grad,) = torch.autograd.grad(loss, x)
        del loss
        before = lifetimes.peak
        again = [torch.ones(1000) for _ in range(2)]
    assert lifetimes.peak == before
    assert len(again) == 2
    assert len(grad) == 1000


def test_a_step_may_create_sparse_tensors_which_have_no_storage() -> None:
    x = torch.eye(30)
    with Lifetimes() as lifetimes:
        y = torch.sparse.mm(x.to_sparse(), x)
    assert torch.equal(y, x)
    assert lifetimes.peak >= 30 * 30 * FLOAT


def step_memory(name: str, depth: int, batch: int = 512, width: int = 64) -> float:
    """Return the memory of a step, in activations of a layer."""
    cls = registry().load("rules", name)
    init, shape = Init(0), (1, 8, 8)
    network = Mlp(widths=(width,) * depth).build(init, shape, 4)
    rule = cls(network, Task("toy", shape, 4), cls.Config(), init)
    rule.attach({group.name: Update(group, Recipe()) for group in rule.groups()})
    data = Batch(torch.rand(batch, *shape), torch.randint(4, (batch,)))
    for index in range(2):
        rule.step(data, Step(Randomness(0), index))
    with Lifetimes() as lifetimes:
        rule.step(data, Step(Randomness(0), 2))
    return lifetimes.peak / (batch * width * FLOAT)


def test_the_memory_of_bp_grows_with_depth_and_that_of_a_local_rule_does_not() -> None:
    bp, local = (step_memory(name, 8) - step_memory(name, 4) for name in ("bp", "lfnn_l"))
    assert 4 <= bp < 6
    assert abs(local) < 0.2


def test_the_third_step_of_a_phase_is_measured_or_the_last_of_a_short_one() -> None:
    assert [p for p in range(10) if StepMemory.due(p, 10)] == [2]
    assert [p for p in range(2) if StepMemory.due(p, 2)] == [1]


def test_every_result_has_the_memory_of_a_step(tmp_path: Path) -> None:
    (outcome,) = run(tmp_path, ask("bp"))
    mib = read_json(RunDir(outcome.run_dir).path / "result.json")["step_memory_mib"]
    assert 0.05 < mib < 5
