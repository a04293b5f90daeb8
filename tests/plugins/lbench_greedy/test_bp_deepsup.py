"""bp_deepsup: the end-to-end gradient of the sum of all losses."""

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
    """Return the rule with the outputs of its blocks detached."""

    def detached(emit: Any) -> Any:
        return lambda h, s=None: emit(h, s).detach()

    for block in rule.network.blocks:
        block.emit = detached(block.emit)  # type: ignore[method-assign]
    return rule


@NET
@pytest.mark.parametrize("blocks", [None, 2])
@pytest.mark.parametrize("options", [{}, {"k": 2, "head": "mlp", "pool": 2}], ids=str)
def test_with_detached_blocks_it_is_lg_bp(
    net: str, blocks: int | None, options: dict[str, Any]
) -> None:
    local = make(LgBp, NETS[net], blocks=blocks, dropout=0.3, **options)
    whole = make(BpDeepSup, NETS[net], blocks=blocks, dropout=0.3, **options)
    expected, actual = gradients(local, batch_of()), gradients(whole, batch_of())
    with pytest.raises(AssertionError):
        assert_same(actual, expected)
    assert_same(gradients(cut(whole), batch_of()), expected)


@NET
def test_with_the_options_of_dgl_it_has_its_parameters(net: str) -> None:
    dgl = make(Dgl, NETS[net])
    whole = make(BpDeepSup, NETS[net], **dgl.config.model_dump())
    expected, actual = dict(dgl.named_parameters()), dict(whole.named_parameters())
    assert set(actual) == set(expected)
    assert all(torch.equal(actual[name], value) for name, value in expected.items())


@NET
def test_with_weight_0_it_is_bp(net: str) -> None:
    actual = gradients(make(BpDeepSup, NETS[net], weight=0.0), batch_of())
    heads = {name for name in actual if name.startswith("heads.")}
    assert heads
    assert all(actual.pop(name).abs().max() == 0 for name in heads)
    assert_same(actual, gradients(make(Bp, NETS[net]), batch_of()))


@NET
@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_its_gradient_is_that_of_the_readouts_loss_plus_the_weighted_sum(
    net: str, weight: float
) -> None:
    """Compare directional derivatives along the gradient with central differences."""
    rule, batch = make(BpDeepSup, NETS[net], k=2, weight=weight), batch_of()
    actual = gradients(rule, batch)
    params = dict(rule.named_parameters())

    def objective(along: float) -> float:
        with torch.no_grad():
            for name, grad in actual.items():
                params[name].add_(grad, alpha=along)
            x, total = batch.x, torch.zeros(()).double()
            for block, head in zip(rule.network.blocks, rule.heads, strict=True):
                h = block.activate(block.preactivation(x))
                total = total + weight * F.cross_entropy(head(h), batch.target)
                x = block.emit(h)
            total = total + F.cross_entropy(rule.network.readout(x), batch.target)
            for name, grad in actual.items():
                params[name].sub_(grad, alpha=along)
        return total.item()

    eps = 1e-6
    slope = (objective(eps) - objective(-eps)) / (2 * eps)
    assert slope == pytest.approx(sum(g.square().sum().item() for g in actual.values()), rel=1e-4)


def test_it_logs_the_readouts_loss() -> None:
    rule, batch = make(BpDeepSup, NETS["resnet"]), batch_of()
    s, expected = Step(Randomness(0)), F.cross_entropy(rule.network(batch.x), batch.target)
    rule.attach({group.name: lambda grads: None for group in rule.groups()})
    rule.step(batch, s)
    torch.testing.assert_close(s.logs["loss"], expected.detach())


def test_an_earlier_block_learns_from_the_classifier_of_a_later_one() -> None:
    """Gradients of block 0 differ with and without the last block's loss, unlike in lg_bp."""
    rule, batch = make(BpDeepSup, NETS["mlp"]), batch_of()
    before = gradients(rule, batch)
    with torch.no_grad():
        rule.heads[-1][-1].weight.neg_()
    after: dict[str, Tensor] = gradients(rule, batch)
    name = "network.blocks.0.layer.affine.weight"
    assert (before[name] - after[name]).abs().max() > 1e-3
