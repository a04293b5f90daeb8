"""next_attention: bp at q = 2, sign symmetry at q = 1, and steps that raise attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.step import Step
from lbench.task import Batch
from lbench.training.job import parameters
from lbench.training.optim import Update
from lbench_bp.bp import Bp
from lbench_next_attention.maps import Slope
from lbench_next_attention.next_attention import NextAttention
from tests.plugins import small
from tests.plugins.small import CLASSES, NETS

Array = NDArray[np.float64]
NET = pytest.mark.parametrize("net", NETS.values(), ids=NETS)
NAMES = [f"network.blocks.{k}.layer.affine" for k in range(3)] + ["network.readout.linear"]
OPTIONS = pytest.mark.parametrize(
    "options",
    [{"q": 1.0}, {"q": 1.5}, {"q": 1.8}, {"q": 1.5, "norm": True}, {"q": 2.0, "norm": True}],
    ids=repr,
)


def make(net: small.NetworkSpec = NETS["mlp"], **options: Any) -> NextAttention:
    rule: NextAttention = small.make(NextAttention, net, **options)
    return rule


def values(rule: NextAttention) -> dict[str, Array]:
    return {name: p.detach().numpy().copy() for name, p in rule.named_parameters()}


def passes(v: dict[str, Array], batch: Batch) -> tuple[list[Array], list[Array], Array]:
    """Return each map's input, each z, and the output error of the mean loss, on mlp."""
    h, z = [batch.x.flatten(1).numpy()], []
    for name in NAMES:
        z.append(h[-1] @ v[f"{name}.weight"].T + v[f"{name}.bias"])
        h.append(np.maximum(z[-1], 0))
    p = np.exp(z[-1] - z[-1].max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return h, z, (p - np.eye(CLASSES)[batch.target.numpy()]) / len(p)


def attention(w: Array, q: float, norm: bool) -> Array:
    """Return the attention to every neuron by every receiver, of weights (receivers, neurons)."""
    power = np.abs(w) ** q
    paid: Array = power / power.sum(1, keepdims=True) if norm else power / q
    return paid


def steps(rule: NextAttention, batch: Batch, lr: float, count: int = 1) -> None:
    """Make steps of plain SGD."""
    recipe = Recipe(optimizer="sgd", momentum=0.0, lr=lr)
    rule.attach({group.name: Update(group, recipe) for group in rule.groups()})
    for index in range(count):
        rule.step(batch, Step(Randomness(0), index))


@NET
@pytest.mark.parametrize("order", ["simultaneous", "topdown"])
def test_quadratic_attention_is_bp(net: small.NetworkSpec, order: str) -> None:
    batch = small.batch_of()
    actual = small.gradients(make(net, q=2.0, order=order, dropout=0.3), batch)
    small.assert_same(actual, small.gradients(small.make(Bp, net, dropout=0.3), batch))


@NET
def test_other_attention_is_not_bp_below_the_readout(net: small.NetworkSpec) -> None:
    batch = small.batch_of()
    actual, expected = (
        small.gradients(make(net), batch),
        small.gradients(small.make(Bp, net), batch),
    )
    for name, grad in expected.items():
        same = torch.allclose(actual[name], grad, rtol=1e-9, atol=1e-12)
        rounding = grad.abs().max() < 1e-12  # a bias in front of a normalisation
        assert same == (name.startswith("network.readout.") or bool(rounding)), name


@pytest.mark.parametrize("scale", ["none", "initial"])
def test_linear_attention_is_sign_symmetry(scale: str) -> None:
    """Feedback is the signs, if scaled times the standard deviation of initial weights."""
    rule, batch = make(q=1.0, scale=scale), small.batch_of()
    v = values(rule)
    h, z, delta = passes(v, batch)
    actual = small.gradients(rule, batch)
    for k in reversed(range(4)):
        expected = {"weight": delta.T @ h[k], "bias": delta.sum(0)}
        for kind, value in expected.items():
            grad = actual[f"{NAMES[k]}.{kind}"].numpy()
            np.testing.assert_allclose(grad, value, rtol=1e-9, atol=1e-14)
        if k:
            s = 1.0 if scale == "none" else 1 / np.sqrt(3 * h[k].shape[1])
            delta = (delta @ (s * np.sign(v[f"{NAMES[k]}.weight"]))) * (z[k - 1] > 0)


@OPTIONS
def test_moving_activities_along_g_raises_attention_after_a_step_above(
    options: dict[str, Any],
) -> None:
    """Finite differences give the effect of a unit's activity on the next layer's weights."""
    rule, batch, eta, eps = make(scale="none", **options), small.batch_of(1), 1e-4, 1e-3
    v = values(rule)
    h, z, output_error = passes(v, batch)
    w, top = v[f"{NAMES[3]}.weight"], h[3][0]
    expected = np.zeros_like(top)
    for i in range(len(top)):
        received = []
        for change in (eps, -eps):
            stepped = w.copy()
            stepped[:, i] -= eta * output_error[0] * (top[i] + change)
            paid = attention(stepped, options["q"], False)[:, i]
            if options.get("norm"):
                power = np.abs(stepped[:, i]) ** options["q"]
                others = (np.abs(w) ** options["q"]).sum(1) - np.abs(w[:, i]) ** options["q"]
                paid = power / (power + others)
            received.append(paid.sum())
        expected[i] = (received[0] - received[1]) / (2 * eps * eta)
    expected *= z[2][0] > 0
    g = -small.gradients(rule, batch)[f"{NAMES[2]}.bias"].numpy()
    assert np.abs(g).max() > 1e-3
    np.testing.assert_allclose(g, expected, rtol=2e-2, atol=1e-4)


@pytest.mark.parametrize("q", [1.0, 1.3, 2.0])
def test_the_slope_of_a_share_is_autograds_derivative(q: float) -> None:
    """The derivative of the share of each kernel is taken with the other weights constant."""
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 3, 2, 2, generator=g, dtype=torch.float64)
    w = weight.clone().requires_grad_()
    power = w.abs() ** q
    others = power.detach().sum((1, 2, 3), keepdim=True) - power.detach()
    (expected,) = torch.autograd.grad((power / (power + others)).sum(), w)
    torch.testing.assert_close(Slope(q, True, 1.0)(weight), expected)


def test_weights_of_zero_have_no_slope() -> None:
    for q in (1.0, 1.5, 2.0):
        for share in (True, False):
            assert not Slope(q, share, 1.0)(torch.zeros(3, 4)).any()


@OPTIONS
def test_feedback_starts_with_the_root_mean_square_of_the_weights(options: dict[str, Any]) -> None:
    rule = make(Mlp(widths=(300, 200)), **options)
    for affine in (rule.network.layers[1].affine, rule.network.readout.linear):
        weight = affine.weight.detach()
        ratio = affine.feedback(weight).norm() / weight.norm()
        assert 0.9 < ratio < 1.1


@pytest.mark.parametrize("q", [1.5, 2.0])
@pytest.mark.parametrize("norm", [False, True])
def test_topdown_uses_the_updated_weights_of_the_maps_above(q: float, norm: bool) -> None:
    """At q = 2 it is bp through updated weights, compared with NumPy for plain SGD."""
    lr = 0.7
    rule, batch = make(q=q, norm=norm, order="topdown", scale="none"), small.batch_of()
    v = values(rule)
    h, z, delta = passes(v, batch)
    steps(rule, batch, lr)
    for k in reversed(range(4)):
        delta = delta if k == 3 else delta * (z[k] > 0)
        weight, bias = f"{NAMES[k]}.weight", f"{NAMES[k]}.bias"
        v[weight], v[bias] = v[weight] - lr * delta.T @ h[k], v[bias] - lr * delta.sum(0)
        slope = np.sign(v[weight]) * np.abs(v[weight]) ** (q - 1)
        if norm:
            total = (np.abs(v[weight]) ** q).sum(1, keepdims=True)
            slope = q * slope / total * (1 - np.abs(v[weight]) ** q / total)
        delta = delta @ slope
    for name, value in values(rule).items():
        np.testing.assert_allclose(value, v[name], rtol=1e-9, atol=1e-12, err_msg=name)
    other = make(q=q, norm=norm, scale="none")
    steps(other, batch, lr)
    assert not np.allclose(values(other)[f"{NAMES[0]}.weight"], v[f"{NAMES[0]}.weight"])


@NET
def test_topdown_without_updates_is_simultaneous(net: small.NetworkSpec) -> None:
    batch = small.batch_of()
    actual = small.gradients(make(net, order="topdown", gate=True), batch)
    small.assert_same(actual, small.gradients(make(net, gate=True), batch))


@NET
def test_topdown_has_every_parameter_in_one_group(net: small.NetworkSpec) -> None:
    rule = make(net, order="topdown")
    groups = rule.groups()
    names = [name for group in groups for name in group.params]
    assert sorted(names) == sorted(name for name, p in rule.named_parameters() if p.requires_grad)
    assert len(groups) == len(rule.network.layers) + 1
    plain = parameters(small.make(Bp, net).float(), small.SHAPE)
    assert parameters(rule.float(), small.SHAPE) == plain


@pytest.mark.parametrize("q", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("lr", [0.01, 3.0])
def test_no_neuron_that_passes_the_gate_loses_attention(q: float, lr: float) -> None:
    """This holds for any step size, since a is convex. Neurons with a closed gate do not change."""
    batch = small.batch_of(8)
    rule, free = make(q=q, gate=True), make(q=q)
    before = values(rule)
    actual, ungated = small.gradients(rule, batch), small.gradients(free, batch)
    steps(rule, batch, lr)
    after = values(rule)
    shut = 0
    for k in range(3):
        weight = f"{NAMES[k + 1]}.weight"
        rise = (attention(after[weight], q, False) - attention(before[weight], q, False)).sum(0)
        moved = (after[f"{NAMES[k]}.bias"] != before[f"{NAMES[k]}.bias"]) | (
            after[f"{NAMES[k]}.weight"] != before[f"{NAMES[k]}.weight"]
        ).any(1)
        assert (rise[moved] > 0).all()
        would = ungated[f"{NAMES[k]}.weight"].any(1).numpy()
        shut += int((would & ~moved).sum())
        assert not actual[f"{NAMES[k]}.weight"].numpy()[~moved].any()
    assert 3 < shut < 20


def test_the_gate_decides_per_channel_through_pooling_and_dropout() -> None:
    """The gain of a channel is the slope at each weight above, times the step of that weight."""
    rule = make(Cnn(widths=(7, 6, 5), norm="none"), gate=True, dropout=0.3)
    actual = small.gradients(rule, batch := small.batch_of())
    free = small.gradients(make(Cnn(widths=(7, 6, 5), norm="none"), dropout=0.3), batch)
    layers = [f"network.blocks.{k}.layer.affine" for k in range(3)] + ["network.readout.linear"]
    affines = [layer.affine for layer in rule.network.layers] + [rule.network.readout.linear]
    learning = []
    for k in range(3):
        above = affines[k + 1]
        step = -actual[f"{layers[k + 1]}.weight"] * above.feedback(above.weight.detach())
        gains = step.transpose(0, 1).flatten(1).sum(1) > 0
        learns = actual[f"{layers[k]}.weight"].flatten(1).any(1)
        would = free[f"{layers[k]}.weight"].flatten(1).any(1)
        assert torch.equal(learns, gains & would)
        learning += learns.tolist()
    assert 0 < sum(learning) < len(learning)


@pytest.mark.parametrize("options", [{}, {"order": "topdown"}, {"gate": True}], ids=repr)
@pytest.mark.parametrize("net", [Mlp(widths=(14, 8)), Cnn(widths=(6, 8), norm="group")], ids=repr)
def test_a_step_in_bfloat16_is_near_float32(
    net: small.NetworkSpec, options: dict[str, Any]
) -> None:
    rule, batch = make(net, **options).float(), small.batch_of(64)
    batch.x = batch.x.float()
    exact = small.gradients(rule, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = small.gradients(rule, batch)
    far = 0.1 if "gate" not in options else 1.0  # rounding may change the decision of a gate
    for name, grad in exact.items():
        assert rough[name].dtype == torch.float32
        assert (rough[name] - grad).norm() < far * grad.norm() + 1e-3, name


@pytest.mark.parametrize("options", [{}, {"order": "topdown"}], ids=repr)
def test_sixty_four_examples_are_learned_without_error(options: dict[str, Any]) -> None:
    rule, batch = make(Mlp(widths=(60, 60)), **options), small.batch_of(64)
    rule.attach({group.name: Update(group, Recipe(lr=3e-3)) for group in rule.groups()})
    for index in range(400):
        rule.step(batch, Step(Randomness(0), index))
        if index % 20 == 19 and (rule.predict(batch.x).argmax(1) == batch.target).all():
            return
    pytest.fail("still wrong on some after 400 steps")


def test_feedback_depends_only_on_the_signs_of_weights_at_q_1() -> None:
    def sent(weight: Tensor) -> Tensor:
        rule = make(q=1.0)
        linear: nn.Linear = rule.network.readout.linear
        feedback = linear.feedback(weight)
        assert isinstance(feedback, Tensor)
        return feedback

    weight = torch.randn(CLASSES, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sent(weight), sent(weight * torch.linspace(0.1, 3, 7)))
