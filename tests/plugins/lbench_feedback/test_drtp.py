"""drtp sends the label to every layer through its own fixed random weights, and no error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.networks.cnn import Cnn
from lbench.networks.mixer import LocalMixer
from lbench.networks.mlp import Mlp
from lbench.task import Batch, Task
from lbench_bp.bp import Bp
from lbench_feedback.dfa import Dfa
from lbench_feedback.drtp import Drtp
from tests.plugins import small
from tests.plugins.lbench_feedback.bfloat16 import assert_a_step_is_near_float32
from tests.plugins.small import CLASSES, NETS, SHAPE

Grads = dict[str, Tensor]
NET = pytest.mark.parametrize("net", NETS.values(), ids=NETS)
CONV = pytest.mark.parametrize("conv", ["full", "channel"])


def parts(grads: Grads) -> tuple[Grads, Grads]:
    """Split gradients into those of the blocks and those of the readout."""
    readout = {name for name in grads if name.startswith("network.readout.")}
    hidden = {name: grad for name, grad in grads.items() if name not in readout}
    return hidden, {name: grads[name] for name in readout}


def redraw(module: nn.Module) -> None:
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=p.dtype))


def assert_equal(actual: Grads, expected: Grads) -> None:
    assert set(actual) == set(expected)
    assert all(torch.equal(actual[name], grad) for name, grad in expected.items())


def test_drtp_equals_an_implementation_in_numpy() -> None:
    rule, batch = small.make(Drtp, Mlp(widths=(9, 8, 7))), small.batch_of()
    values = {name: p.detach().numpy() for name, p in rule.named_parameters()}
    names = [f"network.blocks.{k}.layer.affine" for k in range(3)] + ["network.readout.linear"]
    h, z = [batch.x.flatten(1).numpy()], []
    for name in names:
        z.append(h[-1] @ values[f"{name}.weight"].T + values[f"{name}.bias"])
        h.append(np.maximum(z[-1], 0))
    p = np.exp(z[-1] - z[-1].max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    label = np.eye(CLASSES)[batch.target.numpy()]
    deltas = [(label @ values[f"feedback.{k}"]) * (z[k] > 0) for k in range(3)] + [p - label]
    expected = {}
    for name, delta, below in zip(names, deltas, h, strict=False):
        expected[f"{name}.weight"] = torch.from_numpy(delta.T @ below / len(p))
        expected[f"{name}.bias"] = torch.from_numpy(delta.mean(0))
    small.assert_same(small.gradients(rule, batch), expected)


class LabelAsError(Task):
    """A task whose output error is the label."""

    def output_error(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.loss(logits, target), F.one_hot(target, CLASSES).to(logits) / len(target)


@NET
@CONV
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_hidden_gradients_are_those_of_dfa_with_the_label_as_output_error(
    net: small.NetworkSpec, conv: str, reduction: str
) -> None:
    batch, options = small.batch_of(), {"conv": conv, "reduction": reduction}
    dfa = small.make(Dfa, net, dropout=0.3, **options)
    dfa.task = LabelAsError("toy", SHAPE, CLASSES)
    actual = small.gradients(small.make(Drtp, net, dropout=0.3, **options), batch)
    small.assert_same(parts(actual)[0], parts(small.gradients(dfa, batch))[0])


@NET
def test_hidden_gradients_do_not_depend_on_the_networks_output(net: small.NetworkSpec) -> None:
    rule, batch = small.make(Drtp, net), small.batch_of()
    hidden, readout = parts(small.gradients(rule, batch))
    redraw(rule.network.readout)
    actual = parts(small.gradients(rule, batch))
    assert_equal(actual[0], hidden)
    assert not torch.equal(
        actual[1]["network.readout.linear.weight"], readout["network.readout.linear.weight"]
    )


@NET
def test_a_block_learns_nothing_from_the_blocks_above_it(net: small.NetworkSpec) -> None:
    rule, batch = small.make(Drtp, net), small.batch_of()
    hidden, _ = parts(small.gradients(rule, batch))
    for k in reversed(range(1, len(rule.network.blocks))):
        redraw(rule.network.blocks[k])
        actual, _ = parts(small.gradients(rule, batch))
        below = [name for name in hidden if int(name.split(".")[2]) < k]
        assert below
        assert_equal({n: actual[n] for n in below}, {n: hidden[n] for n in below})


def test_within_a_block_a_layer_learns_nothing_from_the_layers_above_it() -> None:
    rule, batch = small.make(Drtp, Mlp(widths=(9, 8, 7)), blocks=1), small.batch_of()
    before = small.gradients(rule, batch)
    redraw(rule.network.blocks[0].parts[2])
    after = small.gradients(rule, batch)
    for part in range(2):
        name = f"network.blocks.0.parts.{part}.layer.affine.weight"
        assert torch.equal(after[name], before[name])
    name = "network.blocks.0.parts.2.layer.affine.weight"
    assert not torch.equal(after[name], before[name])


@NET
def test_hidden_gradients_change_sign_with_the_feedback(net: small.NetworkSpec) -> None:
    """The sign does not matter, since B and -B have the same distribution."""
    rule, batch = small.make(Drtp, net), small.batch_of()
    hidden, readout = parts(small.gradients(rule, batch))
    with torch.no_grad():
        for b in rule.feedback:
            b.neg_()
    actual = parts(small.gradients(rule, batch))
    assert_equal(actual[0], {name: -grad for name, grad in hidden.items()})
    assert_equal(actual[1], readout)


@NET
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_readout_gets_the_gradient_of_bp(net: small.NetworkSpec, dropout: float) -> None:
    batch = small.batch_of()
    actual, expected = (
        small.gradients(small.make(rule, net, dropout=dropout), batch) for rule in (Drtp, Bp)
    )
    assert set(actual) == set(expected)
    small.assert_same(parts(actual)[1], parts(expected)[1])


@NET
def test_labels_reach_every_layer(net: small.NetworkSpec) -> None:
    rule, batch = small.make(Drtp, net), small.batch_of()
    one = small.gradients(rule, batch)
    other = small.gradients(rule, Batch(batch.x, (batch.target + 1) % CLASSES))
    weights = [name for name in one if name.endswith("affine.weight")]
    assert len(weights) == len(rule.network.layers)
    assert not any(torch.equal(one[name], other[name]) for name in weights)


@NET
def test_grouping_layers_into_blocks_changes_no_gradient(net: small.NetworkSpec) -> None:
    batch = small.batch_of()
    fine, coarse = (
        small.gradients(small.make(Drtp, net, blocks=blocks), batch) for blocks in (None, 1)
    )
    for one, other in zip(fine.values(), coarse.values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "net",
    [
        Mlp(widths=(14, 8)),
        Cnn(widths=(6, 8), norm="group"),
        LocalMixer(patches=2, channels=16, groups=2, depth=2),
    ],
    ids=repr,
)
def test_a_step_in_bfloat16_is_near_float32(net: small.NetworkSpec) -> None:
    assert_a_step_is_near_float32(small.make(Drtp, net))
