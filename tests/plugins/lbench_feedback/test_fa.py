"""fa is bp with fixed random weights in place of each transposed W."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from lbench.errors import UsageError
from lbench.init import Init
from lbench.layer import Layer
from lbench.network import Block, Network, Readout
from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.rule import differentiate
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.training.job import parameters
from lbench.training.optim import Update
from lbench_bp.bp import Bp
from lbench_feedback.fa import Fa
from lbench_feedback.feedback import Feedback, FeedbackConv2d, FeedbackLinear
from tests.plugins import small
from tests.plugins.lbench_feedback.bfloat16 import assert_a_step_is_near_float32
from tests.plugins.small import CLASSES, NETS, SHAPE

Array = NDArray[np.float64]
NET = pytest.mark.parametrize("net", NETS.values(), ids=NETS)


def affines(rule: Fa) -> list[FeedbackLinear | FeedbackConv2d]:
    """Return every affine map that has feedback weights."""
    return [m for m in rule.modules() if isinstance(m, FeedbackLinear | FeedbackConv2d)]


def mirror(rule: Fa) -> None:
    """Set B = W for every map."""
    with torch.no_grad():
        for affine in affines(rule):
            affine.feedback.weight.copy_(affine.weight)


@NET
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_fa_whose_feedback_follows_the_weights_is_bp(
    net: small.NetworkSpec, dropout: float
) -> None:
    fa, bp = small.make(Fa, net, dropout=dropout), small.make(Bp, net, dropout=dropout)
    for index in range(3):
        mirror(fa)
        batch = small.batch_of(seed=index)
        actual, expected = (small.gradients(rule, batch, index) for rule in (fa, bp))
        small.assert_same(actual, expected)
        small.descend(fa, actual, 0.1)
        small.descend(bp, expected, 0.1)


@NET
def test_fa_with_its_own_feedback_is_not_bp_below_the_readout(net: small.NetworkSpec) -> None:
    batch = small.batch_of()
    actual, expected = (small.gradients(small.make(rule, net), batch) for rule in (Fa, Bp))
    assert set(actual) == set(expected)
    for name, grad in expected.items():
        same = torch.allclose(actual[name], grad, rtol=1e-9, atol=1e-12)
        rounding = grad.abs().max() < 1e-12  # a bias in front of a normalisation
        assert same == (name.startswith("network.readout.") or bool(rounding)), name


@NET
def test_the_backward_pass_reads_no_weights(net: small.NetworkSpec) -> None:
    """If every weight becomes NaN after the forward pass, the gradients do not change."""
    batch = small.batch_of()
    for rule, reads in ((small.make(Fa, net), False), (small.make(Bp, net), True)):
        expected = small.gradients(rule, batch)
        loss = rule.loss(batch, Step(Randomness(0)))
        params = {name: p for name, p in rule.named_parameters() if p.requires_grad}
        for module in rule.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.weight.data.fill_(torch.nan)
        actual = differentiate(loss, params)
        same = [torch.equal(actual[name], grad) for name, grad in expected.items()]
        assert all(same) != reads


def test_fa_equals_an_implementation_in_numpy() -> None:
    rule, batch = small.make(Fa, Mlp(widths=(9, 8, 7))), small.batch_of()
    values = {name: p.detach().numpy() for name, p in rule.named_parameters()}
    names = [f"network.blocks.{k}.layer.affine" for k in range(3)] + ["network.readout.linear"]
    h: list[Array] = [batch.x.flatten(1).numpy()]
    z: list[Array] = []
    for name in names:
        z.append(h[-1] @ values[f"{name}.weight"].T + values[f"{name}.bias"])
        h.append(np.maximum(z[-1], 0))
    p = np.exp(z[-1] - z[-1].max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    delta = (p - np.eye(CLASSES)[batch.target.numpy()]) / len(p)
    expected = {}
    for k in reversed(range(4)):
        expected[f"{names[k]}.weight"] = torch.from_numpy(delta.T @ h[k])
        expected[f"{names[k]}.bias"] = torch.from_numpy(delta.sum(0))
        if k:
            delta = (delta @ values[f"{names[k]}.feedback.weight"]) * (z[k - 1] > 0)
    small.assert_same(small.gradients(rule, batch), expected)


@pytest.mark.parametrize("net", ["mlp", "cnn", "resnet", "mixer"])
def test_feedback_does_not_change(net: str) -> None:
    """This holds with weight decay too; the feedback is saved with the rule and restored."""
    rule = small.make(Fa, NETS[net])
    recipe = Recipe(weight_decay=0.1)
    rule.attach({group.name: Update(group, recipe) for group in rule.groups()})
    state = {name: value.clone() for name, value in rule.state_dict().items()}
    feedback_names = [name for name in state if ".feedback." in name]
    assert len(feedback_names) == len(rule.network.layers)  # all but the first, and the readout
    for index in range(3):
        rule.step(small.batch_of(seed=index), Step(Randomness(0), index))
    for name, value in rule.state_dict().items():
        if name.endswith("affine.weight"):
            assert not torch.equal(value, state[name])
        if name in feedback_names:
            assert torch.equal(value, state[name])

    other = Fa(NETS[net].build(Init(7), SHAPE, CLASSES), rule.task, rule.config, Init(8)).double()
    other.load_state_dict(rule.state_dict())
    batch = small.batch_of(seed=9)
    small.assert_same(small.gradients(other, batch), small.gradients(rule, batch))


@NET
def test_feedback_is_fixed_and_distributed_like_the_weights(net: small.NetworkSpec) -> None:
    rule = small.make(Fa, net)
    first = rule.network.layers[0].affine
    assert first not in affines(rule)
    assert len(affines(rule)) == len(rule.network.layers)
    fixed = 0
    for affine in affines(rule):
        weight, feedback = affine.weight, affine.feedback.weight
        bound = 1 / math.sqrt(weight[0].numel())
        assert feedback.shape == weight.shape
        assert 0.7 * bound < feedback.abs().max() <= bound
        assert not torch.equal(feedback, weight)
        fixed += feedback.numel()
    plain = parameters(small.make(Bp, net).float(), SHAPE)
    assert parameters(rule.float(), SHAPE) == {**plain, "fix": fixed}


@NET
def test_grouping_layers_into_blocks_changes_no_gradient(net: small.NetworkSpec) -> None:
    batch = small.batch_of()
    fine, coarse = (
        small.gradients(small.make(Fa, net, blocks=blocks), batch) for blocks in (None, 1)
    )
    for one, other in zip(fine.values(), coarse.values(), strict=True):
        assert torch.equal(one, other)


def test_a_subclass_chooses_the_weights_of_the_backward_pass() -> None:
    class Own(Feedback):
        def forward(self, weight: Tensor) -> Tensor:
            return weight

    class Mirrored(Fa):
        def feedback(self, name: str, affine: nn.Linear | nn.Conv2d, init: Init) -> Feedback:
            return Own(affine.weight.detach().clone())

    batch = small.batch_of()
    actual, expected = (
        small.gradients(small.make(rule, NETS["resnet"]), batch) for rule in (Mirrored, Bp)
    )
    small.assert_same(actual, expected)


class Linear(Block):
    def activate(self, z: Tensor) -> Tensor:
        return z


def linear_network(init: Init) -> Network:
    blocks = [Linear(Layer("fc1", init.linear("fc1", 32, 20)))]
    return Network(blocks, Readout(init.linear("readout", 20, CLASSES)))


def test_the_angle_to_bp_falls_on_a_linear_network() -> None:
    """The readout grows along B, so the gradients that B sends back align with those of bp."""
    init, task = Init(0), Task("toy", SHAPE, CLASSES)
    fa = Fa(linear_network(init), task, Fa.Config(), init).double()
    with torch.no_grad():
        fa.network.readout.linear.weight.mul_(0.1)
    bp = Bp(linear_network(Init(1)), task, Bp.Config(), Init(2)).double()
    g = torch.Generator().manual_seed(0)
    teacher = torch.randn(32, CLASSES, generator=g, dtype=torch.float64)
    angles = []
    for index in range(120):
        x = torch.randn(64, *SHAPE, generator=g, dtype=torch.float64)
        batch = Batch(x, (x.flatten(1) @ teacher).argmax(1))
        bp.load_state_dict(fa.state_dict(), strict=False)
        actual = small.gradients(fa, batch, index)
        one, other = (
            grads["network.blocks.0.layer.affine.weight"].flatten()
            for grads in (actual, small.gradients(bp, batch, index))
        )
        cosine = torch.cosine_similarity(one, other, dim=0)
        angles.append(math.degrees(math.acos(cosine.item())))
        small.descend(fa, actual, 0.5)
    assert sum(angles[:3]) / 3 > 75
    assert sum(angles[-20:]) / 20 < 45


@pytest.mark.parametrize("net", [Mlp(widths=(14, 8)), Cnn(widths=(6, 8), norm="group")], ids=repr)
def test_a_step_in_bfloat16_is_near_float32(net: small.NetworkSpec) -> None:
    assert_a_step_is_near_float32(small.make(Fa, net))


def test_layers_with_parametrised_weights_are_refused() -> None:
    network = NETS["mlp"].build(Init(0), SHAPE, CLASSES)
    weight_norm(network.layers[1].affine)
    with pytest.raises(UsageError, match="weight of 'fc2' is computed from other parameters"):
        Fa(network, Task("small", SHAPE, CLASSES), Fa.Config(), Init(1))
