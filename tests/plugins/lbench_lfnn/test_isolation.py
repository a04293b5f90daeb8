"""lfnn_l: the gradient of a block depends on no other block's loss."""

from __future__ import annotations

import math
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from lbench.data.digits import Digits
from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.recipe import Recipe
from lbench.rule import View
from lbench.step import Step
from lbench.task import Batch
from lbench.training import optim
from lbench.training.optim import Update
from lbench_lfnn.lfnn_l import LfnnL

from . import paper

NETS: dict[str, tuple[Any, tuple[int, int, int]]] = {
    "mlp": (Mlp(widths=(12, 9, 12)), (1, 2, 3)),
    "cnn": (Cnn(widths=(12, 9, 12), norm="batch"), (2, 4, 4)),
}
NET = pytest.mark.parametrize("net", NETS)


def layer(k: int) -> str:
    return f"network.blocks.{k}."


class Loud(LfnnL):
    """A rule that multiplies the loss of block ``loud`` by a million."""

    loud = -1

    def cotangent(self, v: View, s: Step) -> Tensor:
        z_grad = super().cotangent(v, s)
        return z_grad * 1e6 if v.k == self.loud else z_grad


def of_block(grads: dict[str, Tensor], k: int) -> dict[str, Tensor]:
    block_grads = {name: g for name, g in grads.items() if name.startswith(layer(k))}
    assert block_grads
    return block_grads


@NET
@pytest.mark.parametrize("by", ["batch", "example"])
@pytest.mark.parametrize("k", [0, 1, 2])
def test_scaling_a_blocks_loss_changes_no_other_block(net: str, by: str, k: int) -> None:
    rule = paper.make(Loud, *NETS[net], selection=by)
    batch = paper.batch_for(rule)
    quiet = paper.gradients(rule, batch)
    rule.loud = k
    loud = paper.gradients(rule, batch)
    own = of_block(quiet, k)
    for name, grad in quiet.items():
        if name in own:
            torch.testing.assert_close(loud[name], 1e6 * grad)
        else:
            assert torch.equal(loud[name], grad), name


@NET
def test_nan_in_later_blocks_reaches_no_earlier_block(net: str) -> None:
    rule = paper.make(LfnnL, *NETS[net])
    batch = paper.batch_for(rule)
    clean = paper.gradients(rule, batch)
    with torch.no_grad():
        for module in (rule.network.blocks[2], rule.network.readout):
            for p in module.parameters():
                p.fill_(math.nan)
    broken = paper.gradients(rule, batch)
    for k in (0, 1):
        for name, grad in of_block(clean, k).items():
            assert torch.equal(broken[name], grad), name


@NET
def test_the_readouts_labels_reach_no_block(net: str) -> None:
    class Other(paper.Task):
        def loss(self, logits: Tensor, target: Tensor) -> Tensor:
            return 1e6 * super().loss(logits, (target + 1) % 3)

    batch = paper.batch_for(paper.make(LfnnL, *NETS[net]))
    one, other = (
        paper.gradients(paper.make(LfnnL, *NETS[net], task=task), batch)
        for task in (paper.Task, Other)
    )
    for name, grad in one.items():
        assert torch.equal(other[name], grad) == (not name.startswith("network.readout.")), name


@NET
@pytest.mark.parametrize("k", [0, 1, 2])
def test_training_a_block_changes_no_other_blocks_parameters(net: str, k: int) -> None:
    rule = paper.make(LfnnL, *NETS[net])
    batch = paper.batch_for(rule)
    recipe = Recipe(optimizer="adam", lr=0.1)
    rule.attach({group.name: Update(group, recipe) for group in rule.groups()})
    x = batch.x
    for block in rule.network.blocks[:k]:
        x = block(x).detach()
    before = {name: p.detach().clone() for name, p in rule.named_parameters()}
    rule.train_block(k, x, batch, paper.step())
    for name, p in rule.named_parameters():
        assert torch.equal(p, before[name]) != name.startswith(layer(k)), name
        assert p.grad is None


@NET
def test_the_output_of_a_block_has_no_graph(net: str) -> None:
    rule = paper.make(LfnnL, *NETS[net])
    rule.attach({group.name: lambda grads: None for group in rule.groups()})
    batch = paper.batch_for(rule)
    out = rule.train_block(0, batch.x, batch, paper.step())
    assert not out.requires_grad


def test_lam_times_100_changes_no_permanent_followers_adam_update() -> None:
    # After these steps the losses of leaders are low enough that they stay leaders.
    ahead, _ = trained_on_digits(0.0, steps=60)
    start = ahead.network.blocks[0].layer.affine.weight.detach().clone()
    ends, roles = [], []
    for lam in (1.0, 100.0):
        rule, counts = trained_on_digits(lam, steps=40, start=ahead.state_dict())
        ends.append(rule.network.blocks[0].layer.affine.weight.detach().view(10, 10, 64))
        roles.append(counts)
    assert torch.equal(roles[0], roles[1])
    assert set(roles[0].tolist()) == {0, 40}
    following = roles[0] == 0
    moved = ends[0] - start.view(10, 10, 64)
    assert moved[:, following].abs().max() > 0.01
    assert (ends[1] - ends[0])[:, following].abs().max() < 1e-9


def trained_on_digits(
    lam: float, steps: int, start: dict[str, Tensor] | None = None
) -> tuple[LfnnL, Tensor]:
    """Train a block of 10 workers with some steps of Adam, and count how often each led."""
    split = Digits().load().train
    x, target = torch.from_numpy(split.images / 255.0), torch.from_numpy(split.labels)
    rule = paper.make(LfnnL, Mlp(widths=(100,)), (1, 8, 8), classes=10, lam=lam)
    if start is not None:
        rule.load_state_dict(start)
    updates = {g.name: Update(g, Recipe(optimizer="adam", lr=1e-3)) for g in rule.groups()}
    rule.attach(updates)
    counts = torch.zeros(10, dtype=torch.float64)
    adam = optim.adam

    def exact(*tensors: Any, **numbers: Any) -> None:
        adam(*tensors, **{**numbers, "eps": 1e-20})  # Otherwise a factor would not cancel exactly.

    with mock.patch.object(optim, "adam", exact):
        for index in range(steps):
            s, rows = paper.step(index), slice(index * 14, index * 14 + 128)
            rule.step(Batch(x[rows], target[rows]), s)
            counts += s.logs["leaders/0"]
    return rule, counts
