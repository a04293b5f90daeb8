"""bp_deepsup: the sum of all losses, with a gradient that goes all the way down."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.randomness import Randomness
from lbench.rule import Rule
from lbench.step import Step
from lbench_bp.bp import Bp
from lbench_greedy.bp_deepsup import BpDeepSup
from lbench_greedy.dgl import Dgl
from lbench_greedy.lg_bp import LgBp
from tests.plugins.small import NETS, assert_same, batch_of, gradients, make

NET = pytest.mark.parametrize("net", NETS)


def cut(rule: Rule) -> Rule:
    """The rule with what its blocks emit detached."""

    def detached(emit: Any) -> Any:
        return lambda h, s=None: emit(h, s).detach()

    for block in rule.network.blocks:
        block.emit = detached(block.emit)  # type: ignore[method-assign]
    return rule


@NET
@pytest.mark.parametrize("blocks", [None, 2])
@pytest.mark.parametrize("options", [{}, {"k": 2, "head": "mlp", "pool": 2}], ids=str)
def test_with_the_graph_cut_between_blocks_it_is_lg_bp(
    net: str, blocks: int | None, options: dict[str, Any]
) -> None:
    local = make(LgBp, NETS[net], blocks=blocks, dropout=0.3, **options)
    whole = make(BpDeepSup, NETS[net], blocks=blocks, dropout=0.3, **options)
    expected, found = gradients(local, batch_of()), gradients(whole, batch_of())
    with pytest.raises(AssertionError):
        assert_same(found, expected)
    assert_same(gradients(cut(whole), batch_of()), expected)


@NET
def test_with_the_options_of_dgl_it_has_its_parameters(net: str) -> None:
    dgl = make(Dgl, NETS[net])
    whole = make(BpDeepSup, NETS[net], **dgl.config.model_dump())
    expected, found = dict(dgl.named_parameters()), dict(whole.named_parameters())
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@NET
def test_with_weight_0_it_is_bp(net: str) -> None:
    found = gradients(make(BpDeepSup, NETS[net], weight=0.0), batch_of())
    heads = {name for name in found if name.startswith("heads.")}
    assert heads
    assert all(found.pop(name).abs().max() == 0 for name in heads)
    assert_same(found, gradients(make(Bp, NETS[net]), batch_of()))


@NET
@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_it_descends_the_readouts_loss_and_the_weighted_sum_of_the_others(
    net: str, weight: float
) -> None:
    """Directional derivatives along the gradient, by central differences."""
    rule, batch = make(BpDeepSup, NETS[net], k=2, weight=weight), batch_of()
    found = gradients(rule, batch)
    params = dict(rule.named_parameters())

    def objective(along: float) -> float:
        with torch.no_grad():
            for name, grad in found.items():
                params[name].add_(grad, alpha=along)
            x, total = batch.x, torch.zeros(()).double()
            for block, head in zip(rule.network.blocks, rule.heads, strict=True):
                h = block.activate(block.preactivation(x))
                total = total + weight * F.cross_entropy(head(h), batch.target)
                x = block.emit(h)
            total = total + F.cross_entropy(rule.network.readout(x), batch.target)
            for name, grad in found.items():
                params[name].sub_(grad, alpha=along)
        return total.item()

    eps = 1e-6
    slope = (objective(eps) - objective(-eps)) / (2 * eps)
    assert slope == pytest.approx(sum(g.square().sum().item() for g in found.values()), rel=1e-4)


def test_it_logs_the_readouts_loss() -> None:
    rule, batch = make(BpDeepSup, NETS["resnet"]), batch_of()
    s, expected = Step(Randomness(0)), F.cross_entropy(rule.network(batch.x), batch.target)
    rule.attach({group.name: lambda grads: None for group in rule.groups()})
    rule.step(batch, s)
    torch.testing.assert_close(s.logs["loss"], expected.detach())


def test_an_earlier_block_learns_from_a_later_ones_classifier() -> None:
    """Which lg_bp excludes: gradients of block 0 with and without the last block's loss."""
    rule, batch = make(BpDeepSup, NETS["mlp"]), batch_of()
    before = gradients(rule, batch)
    with torch.no_grad():
        rule.heads[-1][-1].weight.neg_()
    after: dict[str, Tensor] = gradients(rule, batch)
    name = "network.blocks.0.layer.affine.weight"
    assert (before[name] - after[name]).abs().max() > 1e-3
