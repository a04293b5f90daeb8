"""sim_bio compares a block's own activities with random codes of the labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.networks.spec import NetworkSpec
from lbench.randomness import Randomness
from lbench.rule import View
from lbench.step import Step
from lbench_local_loss.sim_bio import SimBio

from .small import batch_of, gradients, make, similarities

CNN = Cnn(widths=(6,))


@pytest.mark.parametrize(
    ("net", "features"),
    [(Mlp(widths=(7,)), 5), (CNN, 6 * 16), (CNN, 6 * 8), (CNN, 6)],
    ids=["mlp", "cnn", "pooled to 2x4", "pooled to means"],
)
def test_the_loss_is_the_distance_of_correlations_by_loops(net: NetworkSpec, features: int) -> None:
    rule, batch = make(net, SimBio, features=features), batch_of()
    (block,) = rule.network.blocks
    h = F.leaky_relu(block.preactivation(batch.x), 0.01).detach()
    x = h.numpy()
    if features == 6 * 8:
        x = x.reshape(8, 6, 2, 2, 4).mean(3)
    elif features == 6:
        x = x.mean((2, 3))
    codes = rule.codes[0][batch.target].numpy()
    expected = np.mean((similarities(x) - similarities(codes)) ** 2)
    actual = rule.loss(View(0, batch.x, batch.x, h, h, batch.target), Step(Randomness(0)))
    assert actual.item() == pytest.approx(expected, rel=1e-12)


def test_gradients_are_those_of_finite_differences() -> None:
    rule, batch = make(rule=SimBio), batch_of()
    actual = gradients(rule, batch)["network.blocks.0.layer.affine.weight"]
    block, codes = rule.network.blocks[0], similarities(rule.codes[0][batch.target].numpy())

    def loss() -> float:
        h = F.leaky_relu(block.preactivation(batch.x), 0.01)
        return float(np.mean((similarities(h.numpy()) - codes) ** 2))

    with torch.no_grad():
        for index in ((0, 0), (3, 5), (6, 15)):
            weight = block.layer.affine.weight
            start = weight[index].item()
            values = []
            for change in (1e-5, -1e-5):
                weight[index] = start + change
                values.append(loss())
            weight[index] = start
            assert actual[index].item() == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-9)


def test_only_blocks_and_readout_are_trained() -> None:
    rule = make(rule=SimBio)
    names = {name for group in rule.groups() for name in group.params}
    assert all(name.startswith("network.") for name in names)
