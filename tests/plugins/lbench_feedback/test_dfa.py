"""dfa sends the output error to every layer through its own fixed random weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.networks.cnn import Cnn
from lbench.networks.mixer import LocalMixer
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.step import Step
from lbench.task import Batch
from lbench.training.job import parameters
from lbench.training.optim import Update
from lbench_bp.bp import Bp
from lbench_feedback.dfa import Dfa
from lbench_feedback.fa import Fa
from tests.plugins import small
from tests.plugins.lbench_feedback.bfloat16 import assert_a_step_is_near_float32
from tests.plugins.small import CLASSES, NETS, SHAPE

NET = pytest.mark.parametrize("net", NETS.values(), ids=NETS)
CONV = pytest.mark.parametrize("conv", ["full", "channel"])
ONE_LAYER = {
    "mlp": Mlp(widths=(9,)),
    "cnn": Cnn(widths=(6,)),
    "cnn without norm": Cnn(widths=(6,), norm="none"),
    "cnn of group norm": Cnn(widths=(6,), norm="group"),
}


def feed(rule: Dfa, weight: Tensor) -> None:
    """Set the only feedback to the weight (classes, channels) of a readout on the spatial mean."""
    (feedback,) = rule.feedback
    with torch.no_grad():
        if feedback.shape != weight.shape:
            positions = feedback.shape[1] // weight.shape[1]
            weight = weight.repeat_interleave(positions, 1) / positions
        feedback.copy_(weight)


@CONV
@pytest.mark.parametrize("net", ONE_LAYER.values(), ids=ONE_LAYER)
def test_with_one_layer_and_the_same_feedback_dfa_is_fa(net: small.NetworkSpec, conv: str) -> None:
    fa, dfa = small.make(Fa, net), small.make(Dfa, net, conv=conv)
    feed(dfa, fa.network.readout.linear.feedback.weight)
    batch = small.batch_of()
    small.assert_same(small.gradients(dfa, batch), small.gradients(fa, batch))


@CONV
@pytest.mark.parametrize("net", ONE_LAYER.values(), ids=ONE_LAYER)
def test_with_one_layer_and_the_readout_as_feedback_dfa_is_bp(
    net: small.NetworkSpec, conv: str
) -> None:
    bp, dfa = small.make(Bp, net), small.make(Dfa, net, conv=conv)
    for index in range(3):
        feed(dfa, dfa.network.readout.linear.weight)
        batch = small.batch_of(seed=index)
        actual, expected = (small.gradients(rule, batch, index) for rule in (dfa, bp))
        small.assert_same(actual, expected)
        small.descend(dfa, actual, 0.1)
        small.descend(bp, expected, 0.1)


@NET
@CONV
def test_the_readout_gets_the_gradient_of_bp(net: small.NetworkSpec, conv: str) -> None:
    batch = small.batch_of()
    actual = small.gradients(small.make(Dfa, net, conv=conv), batch)
    expected = small.gradients(small.make(Bp, net), batch)
    assert set(actual) == set(expected)
    readout = [name for name in actual if name.startswith("network.readout.")]
    small.assert_same({n: actual[n] for n in readout}, {n: expected[n] for n in readout})


def test_dfa_equals_an_implementation_in_numpy() -> None:
    rule, batch = small.make(Dfa, Mlp(widths=(9, 8, 7))), small.batch_of()
    values = {name: p.detach().numpy() for name, p in rule.named_parameters()}
    names = [f"network.blocks.{k}.layer.affine" for k in range(3)] + ["network.readout.linear"]
    h, z = [batch.x.flatten(1).numpy()], []
    for name in names:
        z.append(h[-1] @ values[f"{name}.weight"].T + values[f"{name}.bias"])
        h.append(np.maximum(z[-1], 0))
    p = np.exp(z[-1] - z[-1].max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    e = (p - np.eye(CLASSES)[batch.target.numpy()]) / len(p)
    deltas = [(e @ values[f"feedback.{k}"]) * (z[k] > 0) for k in range(3)] + [e]
    expected = {}
    for name, delta, below in zip(names, deltas, h, strict=False):
        expected[f"{name}.weight"] = torch.from_numpy(delta.T @ below)
        expected[f"{name}.bias"] = torch.from_numpy(delta.sum(0))
    small.assert_same(small.gradients(rule, batch), expected)


@CONV
def test_convolutions_get_the_error_at_each_unit_or_for_each_channel(conv: str) -> None:
    rule = small.make(Dfa, Cnn(widths=(4, 6, 5), norm="none"), conv=conv)
    batch, params = small.batch_of(), dict(rule.named_parameters())
    x, walk = batch.x, []
    for k, pool in enumerate((1, 2, 1)):
        affine = f"network.blocks.{k}.layer.affine"
        z = F.conv2d(x, params[f"{affine}.weight"], params[f"{affine}.bias"], padding=1)
        walk.append((affine, x, z))
        x = F.max_pool2d(z.relu(), pool)
    readout = (params[f"network.readout.linear.{name}"] for name in ("weight", "bias"))
    logits = F.linear(x.mean((2, 3)), *readout)
    e = (logits.softmax(1) - F.one_hot(batch.target, CLASSES)) / len(x)
    actual = small.gradients(rule, batch)
    for k, (affine, x, z) in enumerate(walk):
        channels, side = z.shape[1], z.shape[2]
        b = params[f"feedback.{k}"]
        if conv == "full":
            sent = torch.einsum("bk,kchw->bchw", e, b.view(CLASSES, channels, side, side))
        else:
            sent = torch.einsum("bk,kc->bc", e, b)[..., None, None] / side**2
        delta = sent * (z > 0)
        patches = F.unfold(x, 3, padding=1)
        weight = torch.einsum("bop,bip->oi", delta.flatten(2), patches)
        torch.testing.assert_close(actual[f"{affine}.weight"].flatten(1), weight.detach())
        torch.testing.assert_close(actual[f"{affine}.bias"], delta.sum((0, 2, 3)).detach())


@pytest.mark.parametrize("net", ["mlp", "resnet of group norm", "mixer"])
def test_hidden_gradients_are_means_over_the_batch(net: str) -> None:
    """A batch that has every example twice gives the same gradients."""
    rule, batch = small.make(Dfa, NETS[net]), small.batch_of()
    twice = Batch(torch.cat([batch.x, batch.x]), torch.cat([batch.target, batch.target]))
    small.assert_same(small.gradients(rule, twice), small.gradients(rule, batch))


@NET
def test_hidden_gradients_are_sums_over_the_batch_with_the_option(net: small.NetworkSpec) -> None:
    """They are then larger by the batch size, and the readout's gradient is still a mean."""
    batch = small.batch_of()
    actual, means = (
        small.gradients(small.make(Dfa, net, reduction=reduction), batch)
        for reduction in ("sum", "mean")
    )
    times = {name: 1 if name.startswith("network.readout.") else len(batch.x) for name in means}
    small.assert_same(actual, {name: times[name] * grad for name, grad in means.items()})


@NET
@CONV
def test_feedback_is_fixed_and_distributed_like_a_readout(
    net: small.NetworkSpec, conv: str
) -> None:
    rule = small.make(Dfa, net, conv=conv)
    shapes = rule.network.shapes(SHAPE)
    for layer, b in zip(rule.network.layers, rule.feedback, strict=True):
        channels, units = shapes[layer.name][0], shapes[layer.name].numel()
        count = channels if conv == "channel" else units
        assert b.shape == (CLASSES, count)
        assert 0.7 / math.sqrt(count) < b.abs().max() <= 1 / math.sqrt(count)
    fixed = sum(b.numel() for b in rule.feedback)
    plain = parameters(small.make(Bp, net).float(), SHAPE)
    assert parameters(rule.float(), SHAPE) == {**plain, "fix": fixed}


def test_feedback_does_not_change_and_is_saved() -> None:
    rule = small.make(Dfa, NETS["cnn"])
    rule.attach({group.name: Update(group, Recipe(weight_decay=0.1)) for group in rule.groups()})
    before = [b.clone() for b in rule.feedback]
    for index in range(3):
        rule.step(small.batch_of(seed=index), Step(Randomness(0), index))
    saved = rule.state_dict()
    for k, b in enumerate(before):
        assert torch.equal(saved[f"feedback.{k}"], b)


@NET
def test_grouping_layers_into_blocks_changes_no_gradient(net: small.NetworkSpec) -> None:
    batch = small.batch_of()
    fine, coarse = (
        small.gradients(small.make(Dfa, net, blocks=blocks), batch) for blocks in (None, 1)
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
    assert_a_step_is_near_float32(small.make(Dfa, net))
