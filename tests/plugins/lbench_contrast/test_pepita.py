"""pepita learns from the change of activations when the output error is added to the input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.init import Init
from lbench.networks.cnn import Cnn
from lbench.networks.mixer import LocalMixer
from lbench.networks.mlp import Mlp
from lbench.networks.resnet import Resnet
from lbench.networks.spec import NetworkSpec
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.rule import Rule
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.training.job import parameters
from lbench.training.optim import Update
from lbench_bp.bp import Bp
from lbench_contrast.pepita import Pepita

Array = NDArray[np.float64]
SHAPE, CLASSES = (2, 4, 4), 5
NETS: dict[str, NetworkSpec] = {
    "mlp": Mlp(widths=(9, 8, 7)),
    "cnn": Cnn(widths=(4, 6, 5)),
    "cnn of group norm": Cnn(widths=(4, 6, 5), norm="group"),
    "resnet": Resnet(depth=8, width=3),
    "mixer": LocalMixer(patches=2, channels=12, groups=3, depth=2),
}
NET = pytest.mark.parametrize("net", NETS.values(), ids=NETS)


def make(
    net: NetworkSpec, rule: type[Rule] = Pepita, *, dropout: float = 0.0, **options: Any
) -> Any:
    init = Init(1)
    network = net.build(init, SHAPE, CLASSES, dropout)
    return rule(network, Task("toy", SHAPE, CLASSES), rule.Config(**options), init).double()


def batch_of(size: int = 6) -> Batch:
    g = torch.Generator().manual_seed(2)
    x = torch.randn(size, *SHAPE, generator=g, dtype=torch.float64)
    return Batch(x, torch.randint(CLASSES, (size,), generator=g))


def gradients(rule: Rule, batch: Batch) -> dict[str, Tensor]:
    received: dict[str, Tensor] = {}

    def keep(grads: Mapping[str, Tensor]) -> None:
        received.update(grads)

    rule.attach({group.name: keep for group in rule.groups()})
    rule.step(batch, Step(Randomness(0)))
    return received


def readout(grads: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: g for name, g in grads.items() if name.startswith("network.readout.")}


def softmax(z: Array) -> Array:
    p: Array = np.exp(z - z.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_pepita_equals_an_implementation_in_numpy(dropout: float) -> None:
    """Both passes have the same dropout masks, and h is taken behind dropout."""
    rule, batch = make(NETS["mlp"], scale=0.5, dropout=dropout), batch_of()
    masks = {
        f"network.blocks.{k}.layer.affine": (
            Step(Randomness(0)).noise(f"dropout/fc{k + 1}", (6, width), "uniform") >= dropout
        ).numpy()
        / (1 - dropout)
        for k, width in enumerate((9, 8, 7))
    }
    values = {name: p.detach().numpy() for name, p in rule.named_parameters()}
    names = [f"network.blocks.{k}.layer.affine" for k in range(3)] + ["network.readout.linear"]

    def walk(x: Array) -> list[Array]:
        """Return the input, every h, and the logits."""
        h = [x]
        for name in names:
            h.append(h[-1] @ values[f"{name}.weight"].T + values[f"{name}.bias"])
            if name != names[-1]:
                h[-1] = np.maximum(h[-1], 0) * masks[name]
        return h

    x, onehot = batch.x.flatten(1).numpy(), np.eye(CLASSES)[batch.target.numpy()]
    first = walk(x)
    second = walk(x + (softmax(first[-1]) - onehot) @ values["feedback"])
    contrasts = [one - other for one, other in zip(first[1:-1], second[1:-1], strict=True)]
    expected = {}
    for k, delta in enumerate([*contrasts, softmax(second[-1]) - onehot]):
        expected[f"{names[k]}.weight"] = delta.T @ second[k] / len(x)
        expected[f"{names[k]}.bias"] = delta.mean(0)
    actual = gradients(rule, batch)
    assert set(actual) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name].numpy(), value, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("net", [NETS["mlp"], NETS["cnn"], NETS["resnet"]], ids=repr)
def test_grouping_layers_into_a_block_changes_no_dropout(net: NetworkSpec) -> None:
    whole, grouped = make(net, dropout=0.4), make(net, dropout=0.4)
    grouped.network = grouped.network.regrouped(1)
    grouped = Pepita(grouped.network, grouped.task, grouped.config, Init(1)).double()
    expected = list(gradients(whole, batch_of()).values())
    actual = list(gradients(grouped, batch_of()).values())
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other)


@NET
def test_without_feedback_hidden_gradients_are_0_and_the_readouts_is_that_of_bp(
    net: NetworkSpec,
) -> None:
    """Hidden gradients are exactly 0, since both passes drop the same units."""
    actual = gradients(make(net, dropout=0.4, scale=0.0), batch_of())
    expected = gradients(make(net, Bp, dropout=0.4), batch_of())
    assert set(actual) == set(expected)
    for name, grad in actual.items():
        assert bool(grad.any()) == name.startswith("network.readout."), name
    torch.testing.assert_close(readout(actual), readout(expected))


@NET
def test_an_output_error_of_0_gives_gradients_of_0(net: NetworkSpec) -> None:
    rule, batch = make(net, dropout=0.4), batch_of()
    with torch.no_grad():
        rule.network.readout.linear.bias[3] = 1e4
    certain = Batch(batch.x, torch.full_like(batch.target, 3))
    for name, grad in gradients(rule, certain).items():
        assert not grad.any(), name
    assert all(grad.any() for grad in readout(gradients(rule, batch)).values())


def test_a_convolution_learns_from_the_mean_over_its_positions() -> None:
    rule, batch = make(Cnn(widths=(4,), norm="none"), scale=0.5), batch_of()
    conv, linear = rule.network.layers[0].affine, rule.network.readout.linear
    with torch.no_grad():
        onehot = F.one_hot(batch.target, CLASSES)
        first = conv(batch.x).relu()
        output_error = linear(first.mean((2, 3))).softmax(1) - onehot
        x = batch.x + torch.einsum("bk,ki->bi", output_error, rule.feedback).view_as(batch.x)
        second = conv(x).relu()
        contrast = (first - second).flatten(2)
        weight = torch.einsum("bop,bip->boip", contrast, F.unfold(x, 3, padding=1)).mean((0, 3))
        last = linear(second.mean((2, 3))).softmax(1) - onehot
    actual = gradients(rule, batch)
    name = "network.blocks.0.layer.affine"
    torch.testing.assert_close(actual[f"{name}.weight"].flatten(1), weight)
    torch.testing.assert_close(actual[f"{name}.bias"], contrast.mean((0, 2)))
    torch.testing.assert_close(actual["network.readout.linear.bias"], last.mean(0))


@pytest.mark.parametrize("net", [NETS["mlp"], NETS["cnn of group norm"], NETS["mixer"]], ids=repr)
def test_gradients_are_means_over_the_batch(net: NetworkSpec) -> None:
    rule, batch = make(net), batch_of()
    twice = Batch(torch.cat([batch.x, batch.x]), torch.cat([batch.target, batch.target]))
    actual, expected = gradients(rule, twice), gradients(rule, batch)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("net", [NETS["cnn"], NETS["resnet"]], ids=repr)
def test_running_statistics_are_those_of_the_first_pass(net: NetworkSpec) -> None:
    rule, plain = make(net, scale=5.0), make(net, Bp)
    gradients(rule, batch_of())
    plain.network(batch_of().x)
    for one, other in zip(rule.modules(), plain.modules(), strict=True):
        if isinstance(one, nn.BatchNorm2d):
            assert one.num_batches_tracked == 1
            assert one.track_running_stats
            torch.testing.assert_close(one.running_mean, other.running_mean)
            torch.testing.assert_close(one.running_var, other.running_var)


def test_feedback_is_fixed_and_small() -> None:
    rule = make(NETS["mlp"])
    bound = 0.05 * math.sqrt(6 / math.prod(SHAPE))
    assert rule.feedback.shape == (CLASSES, math.prod(SHAPE))
    assert 0.9 * bound < rule.feedback.abs().max() <= bound
    rule.attach({group.name: Update(group, Recipe(weight_decay=0.1)) for group in rule.groups()})
    before = rule.state_dict()["feedback"].clone()
    for index in range(3):
        rule.step(batch_of(), Step(Randomness(0), index))
    assert torch.equal(rule.feedback, before)
    plain = parameters(make(NETS["mlp"], Bp).float(), SHAPE)
    assert parameters(rule.float(), SHAPE) == {**plain, "fix": before.numel()}


@NET
def test_a_step_in_bfloat16_is_finite(net: NetworkSpec) -> None:
    rule, batch = make(net, scale=1.0).float(), batch_of(64)
    batch.x = batch.x.float()
    exact = gradients(rule, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = gradients(rule, batch)
    for name, grad in exact.items():
        assert rough[name].dtype == torch.float32
        assert (rough[name] - grad).norm() < 0.3 * grad.norm() + 1e-2, name
