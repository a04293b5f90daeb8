"""fg_a: the directional derivative is exact, and mean and variance of estimates are as derived."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.errors import UsageError
from lbench.init import Init
from lbench.layer import Layer, cut, tapped
from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.randomness import Kind, Randomness
from lbench.recipe import Recipe
from lbench.rule import Rule
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.training.optim import Update
from lbench_bp.bp import Bp
from lbench_forward_gradient.fg_a import FgA
from lbench_forward_gradient.fg_local import FgLocal
from lbench_forward_gradient.fg_w import FgW
from lbench_forward_gradient.lg_fg_a import LgFgA
from lbench_forward_gradient.lg_fg_w import LgFgW

from . import small
from .small import NETS, Net

NET = pytest.mark.parametrize("net", NETS.values(), ids=list(NETS))
MLP = NETS["mlp"]
PARTS = ("weight", "bias")


class Recorded(Step):
    """A step that stores its perturbations in float64, by the pass through a layer."""

    def __init__(self, index: int = 0) -> None:
        super().__init__(Randomness(5), index)
        self.drawn: dict[str, Tensor] = {}

    def noise(
        self, stream: str, shape: tuple[int, ...] | torch.Size, kind: Kind = "normal"
    ) -> Tensor:
        u = super().noise(stream, shape, kind)
        if stream.startswith("perturbation/"):
            self.drawn[small.passed(stream)] = u.double()
        return u


def cotangents(rule: Rule, batch: Batch, s: Step) -> dict[str, Tensor]:
    """Return the gradient of the mean loss at every z, by the pass through a layer."""
    leaves: list[Tensor] = []

    def add_zero(layer: Layer, z: Tensor) -> Tensor:
        leaves.append(torch.zeros_like(z, requires_grad=True))
        return z + leaves[-1]

    with tapped(rule.network.layers, add_zero):
        loss = F.cross_entropy(rule.network(batch.x, s), batch.target)
    names = small.passes(rule, rule.network.layers)
    return dict(zip(names, torch.autograd.grad(loss, leaves), strict=True))


@NET
@pytest.mark.parametrize("mask", [True, False])
def test_the_mean_over_a_basis_of_the_noise_is_the_gradient_of_bp(net: Net, mask: bool) -> None:
    rule, batch = small.make(FgA, net, mask=mask), small.batch_of()
    mean = small.mean_over_basis(rule, batch, rule.network.layers)
    small.assert_same(mean, small.gradients(small.make(Bp, net), batch))


@NET
def test_the_readout_has_its_exact_gradient_in_each_step(net: Net) -> None:
    batch = small.batch_of()
    exact = small.gradients(small.make(Bp, net), batch)
    actual = small.gradients(small.make(FgA, net), batch)
    for name in ("network.readout.linear.weight", "network.readout.linear.bias"):
        torch.testing.assert_close(actual[name], exact[name], rtol=1e-12, atol=1e-14)


@NET
def test_the_estimate_is_the_noise_times_the_exact_slope_of_each_example(net: Net) -> None:
    rule, batch, s = small.make(FgA, net, mask=False), small.batch_of(), Recorded()
    actual = small.gradients(rule, batch, s)
    exact = cotangents(rule, batch, s)
    slope = sum((exact[name] * u).flatten(1).sum(1) for name, u in s.drawn.items())
    with cut(rule.network.layers) as outputs:
        rule.network(batch.x, s)
    estimates = [slope.view(-1, *[1] * (u.dim() - 1)) * u for u in s.drawn.values()]
    params = dict(rule.network.blocks.named_parameters(prefix="network.blocks"))
    grads = torch.autograd.grad([z for _, z in outputs], list(params.values()), estimates)
    for name, grad in zip(params, grads, strict=True):
        torch.testing.assert_close(actual[name], grad, rtol=1e-10, atol=1e-13)


def test_the_slope_is_that_of_finite_differences() -> None:
    rule, batch, s = small.make(FgA, NETS["resnet"], mask=False), small.batch_of(1), Recorded()
    small.gradients(rule, batch, s)
    exact = cotangents(rule, batch, s)
    slope = sum((exact[name] * u).sum() for name, u in s.drawn.items())

    def loss_at(eps: float) -> Tensor:
        def move(layer: Layer, z: Tensor) -> Tensor:
            return z + eps * s.drawn[layer.name]

        with torch.no_grad(), tapped(rule.network.layers, move):
            return F.cross_entropy(rule.network(batch.x), batch.target)

    difference = (loss_at(1e-6) - loss_at(-1e-6)) / 2e-6
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-9)


def test_a_step_equals_numpy() -> None:
    """Values, tangents and the update of SGD are computed in float64 with the same noise."""
    rule, batch, s = small.make(FgA, MLP, readout_lr=0.1), small.batch_of(4), Recorded()
    p = {name: value.detach().numpy().copy() for name, value in rule.named_parameters()}
    recipe = Recipe(optimizer="sgd", lr=0.3, momentum=0.9)
    updates = {group.name: Update(group, recipe) for group in rule.groups()}
    for update in updates.values():
        update.rate(recipe.lr)
    rule.attach(updates)
    rule.step(batch, s)

    h, hdot, layers = batch.x.flatten(1).numpy(), None, []
    for k, name in enumerate(("fc1", "fc2")):
        w, b = (f"network.blocks.{k}.layer.affine.{part}" for part in PARTS)
        z = h @ p[w].T + p[b]
        u = s.drawn[name].numpy() * (z > 0)
        zdot = u if hdot is None else hdot @ p[w].T + u
        layers.append((w, b, h, u))
        h, hdot = np.maximum(z, 0), zdot * (z > 0)
    assert hdot is not None
    w, b = "network.readout.linear.weight", "network.readout.linear.bias"
    logits = h @ p[w].T + p[b]
    e = np.exp(logits - logits.max(1, keepdims=True))
    output_error = e / e.sum(1, keepdims=True) - np.eye(3)[batch.target.numpy()]
    slope = (output_error * (hdot @ p[w].T)).sum(1, keepdims=True)
    p[w] -= 0.1 * 0.3 * output_error.T @ h / 4
    p[b] -= 0.1 * 0.3 * output_error.mean(0)
    for w, b, x, u in layers:
        p[w] -= 0.3 * (slope * u).T @ x / 4
        p[b] -= 0.3 * (slope * u).mean(0)
    for name, value in rule.named_parameters():
        np.testing.assert_allclose(value.detach().numpy(), p[name], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("mask", "count"), [(True, 1), (False, 1), (True, 2)])
def test_the_second_moment_is_that_of_gaussian_noise(mask: bool, count: int) -> None:
    """For one example, E (D u_i)^2 = |g|^2 + 2 g_i^2 at each of the q perturbed units.

    Layer m's squared gradient is then (|h|^2 + 1) (q_m |g|^2 + 2 |g_m|^2) on average, with h its
    input and the 1 for its bias. With one layer that is q + 2 times the square of the exact
    gradient. The excess over that square is the variance, which falls as 1/M for the mean of M
    draws. The square has degree 4 in the noise, so the cubature gives its exact expectation.
    """
    net = Net(Mlp(widths=(3, 2)))
    rule = small.make(FgA, net, mask=mask, perturbations=count)
    batch = small.batch_of(1, seed=4)
    with torch.no_grad():
        rule.network.blocks[1].layer.affine.bias.copy_(torch.tensor([1.0, -1.0]))
    exact = cotangents(rule, batch, Step(Randomness(0)))
    total = sum(g.square().sum() for g in exact.values())
    expected, alive, h = [], [], batch.x.flatten(1)
    with torch.no_grad():
        for block, g in zip(rule.network.blocks, exact.values(), strict=True):
            z = block.preactivation(h)
            alive.append(int((z > 0).sum()))
            q, own = (alive[-1] if mask else z.numel()), g.square().sum()
            expected.append((h.square().sum() + 1) * ((q * total + own) / count + own))
            h = block(h)
    assert alive == [2, 1]  # of three and two units, so the mask matters

    def squares(node: list[float]) -> Tensor:
        grads = rule.gradients(batch, small.Nodes(node))
        return torch.stack(
            [
                sum(grads[f"network.blocks.{m}.layer.affine.{p}"].square().sum() for p in PARTS)
                for m in range(2)
            ]
        )

    torch.testing.assert_close(
        small.expectation(squares, 5 * count), torch.stack(expected), rtol=1e-10, atol=0
    )


def test_masked_units_get_no_gradient_and_unmasked_ones_do() -> None:
    batch = small.batch_of(1)
    for mask in (True, False):
        rule = small.make(FgA, MLP, mask=mask)
        bias = small.gradients(rule, batch)["network.blocks.0.layer.affine.bias"]
        dead = (rule.network.blocks[0].preactivation(batch.x) <= 0)[0]
        assert 0 < dead.sum() < len(dead)
        assert (bias[~dead] != 0).all()
        assert (bias[dead] == 0).all() == mask


def test_several_perturbations_are_averaged() -> None:
    batch, s = small.batch_of(), Step(Randomness(3))
    rule = small.make(FgA, NETS["mixer"], perturbations=3)
    draws = [rule.estimate(batch, s, draw).grads for draw in range(3)]
    mean = {name: sum(grads[name] for grads in draws) / 3 for name in draws[0]}
    small.assert_same(small.gradients(rule, batch, s), mean)
    assert not torch.allclose(*(d["network.blocks.0.inner.0.affine.weight"] for d in draws[:2]))


@pytest.mark.parametrize("rule", [FgA, LgFgA, FgLocal])
def test_the_error_for_batchnorm_names_the_options_that_fit(rule: type[Rule]) -> None:
    with pytest.raises(UsageError) as caught:
        small.make(rule, Net(Cnn(widths=(3, 2))))
    assert "norm=group" in caught.value.hint


@pytest.mark.parametrize("rule", [FgA, FgW, FgLocal, LgFgA, LgFgW])
def test_a_step_in_bfloat16_is_near_float32_with_the_same_noise(rule: type[Rule]) -> None:
    """The tolerance is one half: the terms of a slope cancel, but their rounding errors do not."""
    for net in (Mlp(widths=(20, 20)), Cnn(widths=(6, 6), norm="group")):
        init = Init(0)
        made: Any = rule(
            net.build(init, small.SHAPE, 3), Task("toy", small.SHAPE, 3), rule.Config(), init
        )
        batch = small.batch_of(64)
        batch.x = batch.x.float()
        exact = small.gradients(made, batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = small.gradients(made, batch)
        assert len(rough) == len(list(made.parameters()))
        for name, grad in exact.items():
            assert rough[name].dtype == torch.float32
            assert (rough[name] - grad).norm() < 0.5 * grad.norm() + 1e-3, name
