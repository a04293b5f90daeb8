"""fg_w: the directional derivative is exact, and mean and variance of estimates are as derived."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from lbench.errors import UsageError
from lbench.init import Init
from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.rule import Rule
from lbench.step import Step
from lbench.task import Batch, Task
from lbench_bp.bp import Bp
from lbench_forward_gradient.fg_w import FgW
from lbench_forward_gradient.lg_fg_w import LgFgW

from . import small
from .small import NETS, Given, Net

BATCH_NORM = Net(Cnn(widths=(3, 4, 2)))
NET = pytest.mark.parametrize("net", NETS.values(), ids=list(NETS))
ALL = pytest.mark.parametrize("net", [*NETS.values(), BATCH_NORM], ids=[*NETS, "batch norm"])
READOUT = ("network.readout.linear.weight", "network.readout.linear.bias")


def blocks_of(rule: FgW) -> list[str]:
    return [name for name, _ in rule.named_parameters() if name not in READOUT]


@NET
@pytest.mark.parametrize("perturb_readout", [False, True])
def test_the_mean_over_a_basis_of_the_noise_is_the_gradient_of_bp(
    net: Net, perturb_readout: bool
) -> None:
    rule, batch = small.make(FgW, net, perturb_readout=perturb_readout), small.batch_of()
    exact = small.gradients(small.make(Bp, net), batch)
    names = list(exact) if perturb_readout else blocks_of(rule)
    few = [*READOUT, *blocks_of(rule)] if perturb_readout else names
    spanned, mean = small.mean_over_weights(rule, batch, names, few, most=40)
    assert len(spanned) > 1
    # A readout without noise has its exact gradient.
    own = [*spanned, *READOUT]
    small.assert_same({name: mean[name] for name in own}, {name: exact[name] for name in own})


@ALL
@pytest.mark.parametrize("perturb_readout", [False, True])
def test_the_estimate_is_the_noise_times_bps_slope_along_it(
    net: Net, perturb_readout: bool
) -> None:
    rule, batch = small.make(FgW, net, perturb_readout=perturb_readout), small.batch_of()
    exact = small.gradients(small.make(Bp, net), batch)
    names = list(exact) if perturb_readout else blocks_of(rule)
    v = small.noise_of(rule, names)
    slope = sum((exact[name] * v[name]).sum() for name in names)
    small.assert_same(
        small.gradients(rule, batch, Given(v)),
        {name: slope * v[name] if name in v else exact[name] for name in exact},
    )


def test_estimates_follow_finite_differences_of_the_loss_with_the_same_noise() -> None:
    """Weight perturbation is the same rule with central differences instead of derivatives."""
    rule, batch = small.make(FgW, NETS["cnn"]), small.batch_of()
    params = dict(rule.named_parameters())
    actual, expected = [], []
    for seed in range(20):
        v = small.noise_of(rule, blocks_of(rule), seed)
        losses = []
        for eps in (1e-5, -1e-5):
            moved = {name: params[name].detach() + eps * u for name, u in v.items()}
            logits = torch.func.functional_call(rule, moved, (batch.x, Step(Randomness(0))))
            losses.append(F.cross_entropy(logits, batch.target).detach())
        name = "network.blocks.1.layer.affine.weight"
        expected.append((losses[0] - losses[1]) / 2e-5 * v[name])
        actual.append(small.gradients(rule, batch, Given(v))[name])
    a, b = torch.stack(actual).flatten(), torch.stack(expected).flatten()
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 1 - 1e-8
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("count", [1, 2])
def test_mean_and_second_moment_are_those_of_gaussian_noise(count: int) -> None:
    """E g = the gradient of bp, E |g|^2 = ((P + 1)/M + 1) |gradient of bp|^2: P + 2 for one draw.

    The variance, which is the part above 1, falls as 1/M. The cubature is exact to degree 5.
    """
    init, task = Init(1), Task("toy", (1, 1, 2), 3)
    batch = Batch(torch.tensor([[[[0.3, 1.2]]], [[[2.0, 0.4]]]]).double(), torch.tensor([0, 2]))

    def build(cls, **options):  # type: ignore[no-untyped-def]
        network = Mlp(widths=(1, 1)).build(Init(1), task.shape, 3)
        with torch.no_grad():
            for p in network.blocks.parameters():
                p.abs_()  # alive
        return cls(network, task, cls.Config(**options), init).double()

    rule = build(FgW, perturbations=count)
    names = blocks_of(rule)
    size = sum(p.numel() for name, p in rule.named_parameters() if name in names)
    assert size == 5
    exact = small.gradients(build(Bp), batch)
    flat = torch.cat([exact[name].flatten() for name in names])
    assert flat.norm() > 1e-2

    def moments(node: list[float]) -> Tensor:
        grads = rule.gradients(batch, small.Nodes(node))
        g = torch.cat([grads[name].flatten() for name in names])
        return torch.cat([g, g.square().sum()[None]])

    actual = small.expectation(moments, size * count)
    torch.testing.assert_close(actual[:-1], flat, rtol=1e-9, atol=1e-12)
    expected = ((size + 1) / count + 1) * flat.square().sum()
    torch.testing.assert_close(actual[-1], expected, rtol=1e-9, atol=0)


def test_a_step_equals_numpy() -> None:
    """Values and tangents are computed explicitly, with one draw for the whole batch."""
    rule, batch = small.make(FgW, NETS["mlp"]), small.batch_of(4)
    p = {name: value.detach().numpy() for name, value in rule.named_parameters()}
    noise = small.noise_of(rule, blocks_of(rule))
    v = {name: u.numpy() for name, u in noise.items()}
    h, hdot = batch.x.flatten(1).numpy(), np.zeros((4, 16))
    for k in range(2):
        w, b = (f"network.blocks.{k}.layer.affine.{part}" for part in ("weight", "bias"))
        zdot = hdot @ p[w].T + h @ v[w].T + v[b]
        z = h @ p[w].T + p[b]
        h, hdot = np.maximum(z, 0), zdot * (z > 0)
    logits, tangent = h @ p[READOUT[0]].T + p[READOUT[1]], hdot @ p[READOUT[0]].T
    e = np.exp(logits - logits.max(1, keepdims=True))
    output_error = (e / e.sum(1, keepdims=True) - np.eye(3)[batch.target.numpy()]) / 4
    slope = (output_error * tangent).sum()
    expected = {name: slope * u for name, u in v.items()}
    expected |= {READOUT[0]: output_error.T @ h, READOUT[1]: output_error.sum(0)}
    actual = small.gradients(rule, batch, Given(noise))
    assert set(actual) == set(expected)
    for name, grad in actual.items():
        np.testing.assert_allclose(grad.numpy(), expected[name], rtol=1e-10, atol=1e-13)


def test_several_perturbations_are_averaged() -> None:
    batch, s = small.batch_of(), Step(Randomness(3))
    rule = small.make(FgW, NETS["mixer"], perturbations=3)
    draws = [rule.estimate(batch, s, draw).grads for draw in range(3)]
    mean = {name: sum(grads[name] for grads in draws) / 3 for name in draws[0]}
    small.assert_same(small.gradients(rule, batch, s), mean)
    assert not torch.allclose(*(d["network.blocks.0.inner.0.affine.weight"] for d in draws[:2]))


def test_batchnorms_statistics_change_once_per_step_with_several_draws() -> None:
    batch = small.batch_of()
    rules = [small.make(FgW, BATCH_NORM, perturbations=count) for count in (1, 3)]
    rules.append(small.make(Bp, BATCH_NORM))
    for rule in rules:
        small.gradients(rule, batch)
    first, several, bp = (dict(rule.named_buffers()) for rule in rules)
    for name, value in bp.items():
        assert torch.equal(first[name], several[name])
        torch.testing.assert_close(first[name], value, rtol=1e-12, atol=1e-14)
    assert bp["network.blocks.0.layer.norm.running_mean"].abs().sum() > 0


@pytest.mark.parametrize("rule", [FgW, LgFgW])
def test_the_error_for_a_missing_forward_derivative_names_the_operation(
    rule: type[Rule],
) -> None:
    network = NETS["mlp"].spec.build(Init(1), small.SHAPE, small.CLASSES)
    for layer in network.layers:
        weight_norm(layer.affine)
    made = rule(network, Task("toy", small.SHAPE, small.CLASSES), rule.Config(), Init(1)).double()
    with pytest.raises(UsageError, match="no forward derivative of _weight_norm_interface"):
        small.gradients(made, small.batch_of())
