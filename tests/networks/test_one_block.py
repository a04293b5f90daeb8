"""With one block, a local rule whose head is the readout has the gradient of bp."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lbench.init import Init
from lbench.networks.cnn import Cnn
from lbench.networks.lenet import Lenet
from lbench.networks.lfnn_v1 import LfnnV1
from lbench.networks.mixer import LocalMixer
from lbench.networks.mlp import Mlp
from lbench.networks.resnet import Resnet
from lbench.networks.spec import NetworkSpec
from lbench.networks.vgg import Vgg
from lbench.rule import Rule
from lbench.task import Batch, Task
from lbench_bp.bp import Bp
from lbench_greedy.lg_bp import LgBp
from lbench_lfnn.lfnn_l_v1 import LfnnLV1
from tests.plugins import small
from tests.plugins.small import CLASSES

NETS: dict[str, NetworkSpec] = {
    "mlp": Mlp(widths=(9, 8, 7)),
    "mlp of batch norm": Mlp(widths=(9, 8), norm="batch"),
    "cnn": Cnn(widths=(4, 6, 5)),
    "lenet": Lenet(widths=(4, 5, 6, 7)),
    "vgg": Vgg(widths=(4, 5), pools=(1, 2), hidden=(6,)),
    "vgg of group norm": Vgg(widths=(4, 5), pools=(2,), hidden=(6,), norm="group"),
    "resnet": Resnet(depth=8, width=3),
    "mixer": LocalMixer(patches=2, channels=12, groups=3, depth=2),
}
POOLED: dict[str, NetworkSpec] = {
    "cnn": Cnn(widths=(4, 6)),
    "lfnn-v1": LfnnV1(widths=(4, 3, 6, 5)),
    "lfnn-v1 of one pair": LfnnV1(widths=(4, 3)),
    "vgg without hidden layers": Vgg(widths=(4, 5), pools=(2,), hidden=()),
}


SHAPE = (2, 8, 8)


def make(rule: type[Rule], spec: NetworkSpec, *, blocks: int | None = None) -> Any:
    init = Init(1)
    network = spec.build(init, SHAPE, CLASSES)
    network = network if blocks is None else network.regrouped(blocks)
    return rule(network, Task("toy", SHAPE, CLASSES), rule.Config(), init).double()


def batch_of(size: int = 6) -> Batch:
    g = torch.Generator().manual_seed(2)
    x = torch.randn(size, *SHAPE, generator=g, dtype=torch.float64)
    return Batch(x, torch.randint(CLASSES, (size,), generator=g))


def layers_of(rule: Rule, grads: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return gradients by layer and parameter, since regrouping changes parameter names."""
    names = {id(p): name for name, p in rule.named_parameters()}
    return {
        f"{layer.name}.{own}": grads[names[id(p)]]
        for layer in rule.network.layers
        for own, p in layer.named_parameters()
    }


@pytest.mark.parametrize("name", NETS)
def test_lg_bp_of_one_block_is_bp_where_its_head_is_the_readout(name: str) -> None:
    batch = batch_of()
    bp, rule = make(Bp, NETS[name]), make(LgBp, NETS[name], blocks=1)
    with torch.no_grad():
        for p, q in zip(rule.heads.parameters(), bp.network.readout.parameters(), strict=True):
            p.copy_(q)
    expected = layers_of(bp, small.gradients(bp, batch))
    small.assert_same(layers_of(rule, small.gradients(rule, batch)), expected)
    whole = make(LgBp, NETS[name])  # its own heads and blocks give other gradients
    own = layers_of(whole, small.gradients(whole, batch))
    assert any((own[key] - value).abs().max() > 1e-4 for key, value in expected.items())


@pytest.mark.parametrize("name", POOLED)
def test_a_head_on_a_blocks_output_can_be_the_readout_behind_pooling(name: str) -> None:
    """Give the head of lfnn_l_v1, which reads all positions, equal weights for a mean."""
    batch = batch_of()
    bp, rule = make(Bp, POOLED[name]), make(LfnnLV1, POOLED[name], blocks=1)
    (head,) = rule.heads
    readout: Any = bp.network.readout.linear
    positions = head.in_features // readout.in_features
    with torch.no_grad():
        head.weight.copy_(readout.weight.repeat_interleave(positions, 1) / positions)
        head.bias.copy_(readout.bias)
    expected, actual = small.gradients(bp, batch), small.gradients(rule, batch)
    small.assert_same(layers_of(rule, actual), layers_of(bp, expected))
