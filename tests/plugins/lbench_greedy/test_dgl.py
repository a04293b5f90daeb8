"""dgl: gradient-isolated modules with convolutional classifiers of their width."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lbench.claims import Claims
from lbench_greedy.dgl import Dgl
from lbench_greedy.lg_bp import LgBp
from tests.plugins.small import NETS, assert_same, batch_of, descend, gradients, make

NET = pytest.mark.parametrize("net", NETS)


@NET
@pytest.mark.parametrize("blocks", [None, 1, 2])
def test_it_is_lg_bp_with_two_hidden_layers_in_its_classifiers(
    net: str, blocks: int | None
) -> None:
    dgl = make(Dgl, NETS[net], blocks=blocks)
    same = make(LgBp, NETS[net], blocks=blocks, k=3, pool=2)
    assert_same(gradients(dgl, batch_of()), gradients(same, batch_of()))


@NET
def test_each_of_k_modules_has_a_classifier_of_the_width_of_its_last_layer(net: str) -> None:
    rule = make(Dgl, NETS[net], blocks=2)
    assert len(rule.heads) == len(rule.network.blocks) == 2
    for block, head in zip(rule.network.blocks, rule.heads, strict=True):
        maps = [m for m in head if isinstance(m, nn.Linear | nn.Conv2d)]
        assert [m.weight.shape[0] for m in maps] == [block.width, block.width, 5]


@NET
def test_a_module_changes_no_gradient_of_an_earlier_one(net: str) -> None:
    rule, batch = make(Dgl, NETS[net], blocks=2), batch_of()
    before = gradients(rule, batch)
    own = ("network.blocks.0.", "heads.0.")
    later = {name: g for name, g in before.items() if not name.startswith(own)}
    descend(rule, later, lr=0.5)
    after = gradients(rule, batch)
    for name, grad in before.items():
        assert torch.equal(after[name], grad) == name.startswith(own), name


def test_the_backward_depth_of_a_module_includes_its_own_classifier() -> None:
    def claims(net: str, blocks: int | None = None) -> Claims:
        rule = make(Dgl, NETS[net], blocks=blocks)
        return Dgl.claims(rule.config, rule.network)

    assert claims("mlp").backward_depth == 3
    assert claims("mlp", 1).backward_depth == 5
    assert claims("resnet").backward_depth == 4
    assert (claims("cnn").couples, claims("mlp").couples) == ("mean", "none")
    assert claims("mlp").update_locked is False
