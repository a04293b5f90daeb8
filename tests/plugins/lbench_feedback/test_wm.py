"""wm is fa whose feedback follows the correlation of noise with the output of the maps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.step import Step
from lbench.training.job import parameters
from lbench_bp.bp import Bp
from lbench_feedback.fa import Fa
from lbench_feedback.wm import Wm
from tests.plugins import small
from tests.plugins.lbench_feedback.bfloat16 import assert_a_step_is_near_float32
from tests.plugins.small import NETS, SHAPE

NET = pytest.mark.parametrize("net", NETS.values(), ids=NETS)


def feedback(rule: Wm) -> dict[str, Tensor]:
    return {name: m.feedback.weight.detach().clone() for name, m in rule.maps.items()}


@NET
def test_a_mirror_phase_adds_the_correlation_of_noise_and_the_maps_output(
    net: small.NetworkSpec,
) -> None:
    """A convolution with any number of groups gets the noise as one patch."""
    rule = small.make(Wm, net, rate=0.3, decay=0.2, samples=7)
    before, s = feedback(rule), Step(Randomness(0), 5)
    rule.after_step(s)
    after = feedback(rule)
    for name, affine in rule.maps.items():
        weight = affine.weight.detach()
        noise = s.noise(f"mirror/{name}", (7, weight[0].numel())).double()
        if weight.dim() == 4:
            patches = noise.view(7, *weight.shape[1:]).repeat(1, affine.groups, 1, 1)
            z = F.conv2d(patches, weight, groups=affine.groups)[:, :, 0, 0]
        else:
            z = noise @ weight.T
        mean = torch.einsum("no,ni->oi", z, noise).view_as(weight) / 7
        torch.testing.assert_close(after[name], 0.8 * before[name] + 0.3 * mean)


@NET
def test_a_mirror_phase_adds_a_multiple_of_the_weights_on_average(net: small.NetworkSpec) -> None:
    """E B' = (1 - decay) B + rate W, tested with the variance (|w|^2 + w^2)/n of an average."""
    rounds, samples = 50, 200
    rule = small.make(Wm, net, rate=0.3, decay=0.2, samples=samples)
    before = feedback(rule)
    sums = {name: torch.zeros_like(b) for name, b in before.items()}
    for index in range(rounds):
        for name, affine in rule.maps.items():
            affine.feedback.weight.data.copy_(before[name])
        rule.after_step(Step(Randomness(1), index))
        for name, b in feedback(rule).items():
            sums[name] += b / rounds
    for name, affine in rule.maps.items():
        weight = affine.weight.detach().flatten(1)
        expected = 0.8 * before[name].flatten(1) + 0.3 * weight
        variance = (weight.square().sum(1, keepdim=True) + weight.square()) / (samples * rounds)
        score = (sums[name].flatten(1) - expected) / (0.3 * variance.sqrt())
        assert abs(score.square().mean() - 1) < 6 * math.sqrt(2 / score.numel()) + 0.1
        assert score.abs().max() < 5


@pytest.mark.parametrize(("rate", "decay"), [(0.05, 0.05), (0.1, 0.05)])
def test_feedback_converges_to_a_multiple_of_the_weights(rate: float, decay: float) -> None:
    """The factor is rate/decay, and tan^2 of the angle decay/(2 - decay) (inputs + 1)/samples."""
    rule = small.make(Wm, Mlp(widths=(60, 50, 40)), rate=rate, decay=decay, samples=64)
    for index in range(200):
        rule.after_step(Step(Randomness(2), index))
    for affine in rule.maps.values():
        weight, b = affine.weight.detach().flatten(), affine.feedback.weight.flatten()
        assert math.isclose(b @ weight / weight.square().sum(), rate / decay, rel_tol=0.05)
        inputs = affine.weight.shape[1]
        expected = math.sqrt(decay / (2 - decay) * (inputs + 1) / 64)
        angle = math.acos(torch.cosine_similarity(b, weight, dim=0))
        assert math.isclose(math.tan(angle), expected, rel_tol=0.25)
        assert angle < math.radians(11)


@NET
def test_a_mirror_phase_changes_only_the_feedback(net: small.NetworkSpec) -> None:
    rule = small.make(Wm, net)
    before = {name: value.clone() for name, value in rule.state_dict().items()}
    rule.after_step(Step(Randomness(0)))
    moved = {n for n, value in rule.state_dict().items() if not torch.equal(value, before[n])}
    assert moved == {name for name in before if name.endswith("feedback.weight")}
    assert len(moved) == len(rule.maps)


@NET
def test_a_step_is_one_of_fa_and_does_not_change_the_feedback(net: small.NetworkSpec) -> None:
    wm, fa, batch = small.make(Wm, net), small.make(Fa, net), small.batch_of()
    before = feedback(wm)
    small.assert_same(small.gradients(wm, batch), small.gradients(fa, batch))
    assert all(torch.equal(b, before[name]) for name, b in feedback(wm).items())


def test_after_enough_noise_the_next_step_is_one_of_bp() -> None:
    wm, bp = (
        small.make(Wm, NETS["cnn"], rate=1.0, decay=1.0, samples=50_000),
        small.make(Bp, NETS["cnn"]),
    )
    wm.after_step(Step(Randomness(0)))
    batch = small.batch_of()
    actual, expected = (small.gradients(rule, batch) for rule in (wm, bp))
    far = small.gradients(small.make(Fa, NETS["cnn"]), batch)
    for name in expected:
        if name.endswith("layer.affine.weight"):
            size = expected[name].norm()
            assert (actual[name] - expected[name]).norm() < 0.1 * size
            assert (far[name] - expected[name]).norm() > 0.5 * size


def test_feedback_is_not_trained_by_the_optimizer() -> None:
    rule = small.make(Wm, NETS["cnn"])
    count = sum(affine.weight.numel() for affine in rule.maps.values())
    plain = parameters(small.make(Bp, NETS["cnn"]).float(), SHAPE)
    assert parameters(rule.float(), SHAPE) == {**plain, "fix": count}


@pytest.mark.parametrize("net", [Mlp(widths=(14, 8)), Cnn(widths=(6, 8), norm="group")], ids=repr)
def test_a_step_and_a_mirror_phase_in_bfloat16_are_near_float32(net: small.NetworkSpec) -> None:
    rule = small.make(Wm, net, rate=0.5, decay=0.5)
    assert_a_step_is_near_float32(rule)
    before = feedback(rule)
    rule.after_step(Step(Randomness(0)))
    exact = feedback(rule)
    for name, affine in rule.maps.items():
        affine.feedback.weight.data.copy_(before[name])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rule.after_step(Step(Randomness(0)))
    for name, b in feedback(rule).items():
        assert b.dtype == torch.float32
        assert (b - exact[name]).norm() < 0.02 * exact[name].norm()
