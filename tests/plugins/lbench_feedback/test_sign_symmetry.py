"""usf, brsf and frsf are fa with the signs of the weights and other magnitudes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.step import Step
from lbench.training.job import parameters
from lbench.training.optim import Update
from lbench_bp.bp import Bp
from lbench_feedback.brsf import Brsf
from lbench_feedback.fa import Fa
from lbench_feedback.frsf import Frsf
from lbench_feedback.usf import Usf
from tests.plugins import small
from tests.plugins.lbench_feedback.bfloat16 import assert_a_step_is_near_float32
from tests.plugins.small import NETS, SHAPE

NET = pytest.mark.parametrize("net", NETS.values(), ids=NETS)
RULE = pytest.mark.parametrize("rule", [Usf, Brsf, Frsf])
WIDE = Mlp(widths=(300, 200, 150))


def bound(weight: Tensor) -> float:
    return 1 / math.sqrt(weight[0].numel())


def scale(weight: Tensor) -> float:
    """Return s, the standard deviation of initial weights, rounded to float32 as in the rule."""
    return torch.tensor(bound(weight) / math.sqrt(3)).item()


def backward_weights(rule: Any, step: int = 0) -> dict[str, Tensor]:
    """Return the weights of the backward pass in a step, by map."""
    small.gradients(rule, small.batch_of(), step)
    return {name: m.feedback(m.weight.detach()).clone() for name, m in rule.maps.items()}


@NET
def test_usf_is_fa_with_the_scaled_signs_of_the_weights(net: small.NetworkSpec) -> None:
    usf, fa = small.make(Usf, net), small.make(Fa, net)
    for index in range(3):
        with torch.no_grad():
            for affine in fa.maps.values():
                signs = torch.where(affine.weight > 0, 1.0, -1.0).double()
                affine.feedback.weight.copy_(scale(affine.weight) * signs)
        batch = small.batch_of(seed=index)
        actual, expected = (small.gradients(rule, batch, index) for rule in (usf, fa))
        small.assert_same(actual, expected)
        small.descend(usf, actual, 1.0)
        small.descend(fa, expected, 1.0)


def test_usf_starts_with_feedback_of_the_root_mean_square_of_the_weights() -> None:
    rule = small.make(Usf, WIDE)
    for name, b in backward_weights(rule).items():
        low, high = b.unique().tolist()
        assert low == -high
        assert math.isclose(high, rule.maps[name].weight.std().item(), rel_tol=0.02)


@NET
def test_usf_is_bp_if_all_weights_have_its_magnitude(net: small.NetworkSpec) -> None:
    usf = small.make(Usf, net)
    with torch.no_grad():
        for affine in usf.maps.values():
            affine.weight.copy_(scale(affine.weight) * affine.weight.sign())
    bp = small.make(Bp, net)
    bp.load_state_dict(usf.state_dict())
    batch = small.batch_of()
    small.assert_same(small.gradients(usf, batch), small.gradients(bp, batch))


@pytest.mark.parametrize("net", ["mlp", "cnn", "cnn without norm"])
def test_usf_is_proportional_to_bp_if_all_weights_have_one_magnitude(net: str) -> None:
    """Every map that the error passes scales it by s over that magnitude."""
    size, usf = 0.2, small.make(Usf, NETS[net])
    with torch.no_grad():
        for affine in usf.maps.values():
            affine.weight.copy_(size * affine.weight.sign())
    bp = small.make(Bp, NETS[net])
    bp.load_state_dict(usf.state_dict())
    batch, factor, expected = small.batch_of(), 1.0, {}
    exact = small.gradients(bp, batch)
    modules = [usf.network.readout.linear, *(layer.affine for layer in usf.network.layers[::-1])]
    for depth, module in enumerate(modules):
        layer = "network.readout." if depth == 0 else f"network.blocks.{3 - depth}."
        expected |= {name: factor * g for name, g in exact.items() if name.startswith(layer)}
        factor *= scale(module.weight) / size
    small.assert_same(small.gradients(usf, batch), expected)


@RULE
@NET
def test_only_the_signs_of_the_weights_matter(rule: type[Fa], net: small.NetworkSpec) -> None:
    instance = small.make(rule, net)
    before = backward_weights(instance)
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for affine in instance.maps.values():
            affine.weight.mul_(torch.rand(affine.weight.shape, generator=g).double() * 9 + 0.1)
    for name, b in backward_weights(instance).items():
        assert torch.equal(b, before[name])
        assert torch.equal(b.sign(), instance.maps[name].weight.sign())
    with torch.no_grad():
        for affine in instance.maps.values():
            affine.weight.neg_()
    assert all(torch.equal(b, -before[name]) for name, b in backward_weights(instance).items())


@NET
def test_brsf_draws_magnitudes_once_per_step(net: small.NetworkSpec) -> None:
    rule, batch = small.make(Brsf, net), small.batch_of()
    first, again, second = (
        backward_weights(rule, 0),
        backward_weights(rule, 0),
        backward_weights(rule, 1),
    )
    for name, b in first.items():
        assert torch.equal(again[name], b)
        assert not (second[name] == b).any()
    one, two = (small.gradients(rule, batch, index) for index in (0, 1))
    small.assert_same(small.gradients(rule, batch, 0), one)
    below = "network.blocks.0.layer.affine.weight"
    assert (one[below] - two[below]).norm() > 0.01 * one[below].norm()


def test_frsf_keeps_its_magnitudes_and_follows_the_signs() -> None:
    """This holds with weight decay too; the magnitudes are saved with the rule."""
    rule = small.make(Frsf, NETS["resnet"])
    sizes = {name: affine.feedback.weight.clone() for name, affine in rule.maps.items()}
    recipe = Recipe(lr=0.1, weight_decay=0.1)
    rule.attach({group.name: Update(group, recipe) for group in rule.groups()})
    for index in range(3):
        rule.step(small.batch_of(seed=index), Step(Randomness(0), index))
    saved = rule.state_dict()
    assert sum(name.endswith("feedback.weight") for name in saved) == len(sizes)
    before = small.make(Frsf, NETS["resnet"])
    for name, affine in rule.maps.items():
        b = affine.feedback(affine.weight.detach())
        assert torch.equal(b.abs(), sizes[name])
        assert torch.equal(b.sign(), affine.weight.sign())
        assert (affine.weight.sign() != before.maps[name].weight.sign()).any()


@NET
def test_frsf_with_the_magnitudes_of_the_weights_is_bp(net: small.NetworkSpec) -> None:
    frsf, bp = small.make(Frsf, net), small.make(Bp, net)
    for index in range(3):
        with torch.no_grad():
            for affine in frsf.maps.values():
                affine.feedback.weight.copy_(affine.weight.abs())
        batch = small.batch_of(seed=index)
        actual, expected = (small.gradients(rule, batch, index) for rule in (frsf, bp))
        small.assert_same(actual, expected)
        small.descend(frsf, actual, 0.1)
        small.descend(bp, expected, 0.1)


@pytest.mark.parametrize("rule", [Brsf, Frsf])
def test_random_magnitudes_are_distributed_like_those_of_the_weights(rule: type[Fa]) -> None:
    """They are uniform from 0 to the bound of the weights, by two moments and the ends."""
    for b in backward_weights(small.make(rule, WIDE)).values():
        share = b.abs() / bound(b)
        noise = 4 / math.sqrt(share.numel())
        assert share.max() <= 1
        assert abs(share.mean() - 1 / 2) < noise * math.sqrt(1 / 12)
        assert abs(share.square().mean() - 1 / 3) < noise * math.sqrt(4 / 45)


@RULE
def test_only_frsf_has_fixed_parameters(rule: type[Fa]) -> None:
    instance = small.make(rule, NETS["cnn"])
    count = sum(affine.weight.numel() for affine in instance.maps.values())
    plain = parameters(small.make(Bp, NETS["cnn"]).float(), SHAPE)
    fixed = count if rule is Frsf else 0
    assert parameters(instance.float(), SHAPE) == {**plain, "fix": fixed}


@RULE
@pytest.mark.parametrize("net", [Mlp(widths=(14, 8)), Cnn(widths=(6, 8), norm="group")], ids=repr)
def test_a_step_in_bfloat16_is_near_float32(rule: type[Fa], net: small.NetworkSpec) -> None:
    assert_a_step_is_near_float32(small.make(rule, net))
