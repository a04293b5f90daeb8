"""forward_forward: labels in images, goodness, and blocks that learn independently."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lbench.data.digits import Digits
from lbench.errors import UsageError
from lbench.init import Init
from lbench.networks.cnn import Cnn
from lbench.networks.mixer import LocalMixer
from lbench.networks.mlp import Mlp
from lbench.networks.resnet import Resnet
from lbench.networks.spec import NetworkSpec
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.training.optim import Update
from lbench_contrast.forward_forward import ForwardForward, overlaid

CLASSES = 4
MLP = Mlp(widths=(7, 6, 5))
NETS: dict[str, NetworkSpec] = {
    "mlp": MLP,
    "cnn": Cnn(widths=(6, 5, 4)),
    "resnet": Resnet(depth=8, width=4),
    "mixer": LocalMixer(patches=2, channels=6, groups=2, depth=3),
}
NET = pytest.mark.parametrize("net", NETS)


def make(
    net: NetworkSpec = MLP,
    *,
    shape: tuple[int, int, int] = (1, 4, 4),
    classes: int = CLASSES,
    **options: Any,
) -> ForwardForward:
    """Return a rule in float64."""
    init = Init(0)
    network = net.build(init, shape, classes)
    config = ForwardForward.Config(**options)
    return ForwardForward(network, Task("toy", shape, classes), config, init).double()


def batch_of(size: int = 8, seed: int = 0, channels: int = 1) -> Batch:
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(size, channels, 4, 4, generator=g, dtype=torch.float64)
    return Batch(x, torch.randint(CLASSES, (size,), generator=g))


def gradients(rule: ForwardForward, batch: Batch, s: Step | None = None) -> dict[str, Tensor]:
    """Return the gradients that the optimizers receive in one step; no parameter changes."""
    received: dict[str, Tensor] = {}

    def keep(grads: Mapping[str, Tensor]) -> None:
        received.update({name: grad.detach().clone() for name, grad in grads.items()})

    rule.attach({group.name: keep for group in rule.groups()})
    s = s or Step(Randomness(0))
    rule.step(rule.prepare(batch, s), s)
    return received


def shown(x: Tensor, classes: int) -> Tensor:
    """Return the labels that images show in their pixels, and assert that codes are one-hot."""
    flat = x[:, 0].flatten(1)
    code = flat[:, :classes]
    assert torch.equal(code.amax(1), flat.amax(1))
    assert torch.equal(code.amin(1), flat.amin(1))
    assert ((code == flat.amax(1, keepdim=True)).sum(1) == 1).all()
    assert ((code == flat.amin(1, keepdim=True)).sum(1) == classes - 1).all()
    return code.argmax(1)


# Batches with own and wrong labels


def test_own_labels_come_first_and_wrong_ones_second() -> None:
    rule, batch = make(), batch_of(50)
    both = rule.prepare(batch, Step(Randomness(0)))
    assert both.x.shape == (100, 1, 4, 4)
    labels = shown(both.x, CLASSES)
    assert torch.equal(labels[:50], batch.target)
    assert (labels[50:] != batch.target).all()
    assert torch.equal(both.target, labels)


def test_wrong_labels_are_uniform_over_the_other_classes() -> None:
    rule, n = make(classes=10), 9000
    target = torch.arange(n) % 10
    both = rule.prepare(Batch(batch_of(1).x.expand(n, -1, -1, -1), target), Step(Randomness(0)))
    counts = torch.zeros(10, 10)
    counts.index_put_((target, both.target[n:]), torch.ones(n), accumulate=True)
    others = counts[~torch.eye(10, dtype=torch.bool)]
    assert not counts.diagonal().any()
    # Each of 90 counts is expected to be 100. Their chi² has 80 degrees of freedom, and is below
    # 125 in 99.9 % of cases.
    assert ((others - 100).square() / 100).sum() < 125


def test_wrong_labels_depend_on_step_and_seed_alone() -> None:
    rule, batch = make(), batch_of(50)
    one, again, later, other = (
        rule.prepare(batch, Step(Randomness(seed), index)).target
        for seed, index in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, later)
    assert not torch.equal(one, other)


def test_pixels_without_the_label_do_not_change() -> None:
    x = batch_of(6, channels=3).x
    actual = overlaid(x, torch.arange(6) % CLASSES, CLASSES)
    assert torch.equal(actual.flatten(2)[:, 0, CLASSES:], x.flatten(2)[:, 0, CLASSES:])
    assert torch.equal(actual[:, 1:], x[:, 1:])
    assert not torch.equal(actual, x)


def test_the_label_is_on_the_scale_of_standardised_pixels() -> None:
    batch = batch_of(6)
    x, mean, std = batch.x, 0.13, 0.31
    late = overlaid((x - mean) / std, batch.target, CLASSES)
    torch.testing.assert_close(late, (overlaid(x, batch.target, CLASSES) - mean) / std)


def test_the_memory_format_does_not_change_the_label() -> None:
    batch = batch_of(6, channels=3)
    x = batch.x.contiguous(memory_format=torch.channels_last)
    expected = overlaid(batch.x, batch.target, CLASSES)
    assert torch.equal(overlaid(x, batch.target, CLASSES), expected)


def test_images_with_fewer_pixels_than_classes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"4x4 = 16 pixels are too small for 17 classes"):
        make(classes=17)


# Gradients of blocks


def by_hand(rule: ForwardForward, both: Batch) -> tuple[dict[str, Any], float]:
    """Compute gradients and mean loss on fully connected layers without autograd."""
    p = {name: value.detach().numpy() for name, value in rule.named_parameters()}
    x, n = both.x.flatten(1).numpy(), len(both.target) // 2
    grads, losses = {}, []
    for k in range(len(rule.network.blocks)):
        x = x / np.sqrt((x**2).mean(1, keepdims=True))
        layer = f"network.blocks.{k}.layer.affine"
        h = np.maximum(x @ p[f"{layer}.weight"].T + p[f"{layer}.bias"], 0)
        units = h.shape[1]
        theta = rule.config.theta
        if rule.config.goodness == "sum":
            g, slope = (h**2).sum(1), 2 * h
            theta = units * (1.0 if theta is None else theta)
        else:
            g, slope = (h**2).mean(1), 2 * h / units
            theta = 2.0 if theta is None else theta
        own, wrong = g[:n], g[n:]
        losses.append(np.log1p(np.exp(theta - own)).mean() + np.log1p(np.exp(wrong - theta)).mean())
        goodness_grad = np.concatenate(
            [-1 / (1 + np.exp(own - theta)) / n, 1 / (1 + np.exp(theta - wrong)) / n]
        )
        dz = goodness_grad[:, None] * slope
        grads[f"{layer}.weight"], grads[f"{layer}.bias"] = dz.T @ x, dz.sum(0)
        x = h
    return grads, float(np.mean(losses))


@pytest.mark.parametrize(
    "options", [{}, {"theta": 0.2}, {"goodness": "mean"}, {"goodness": "mean", "theta": 0.1}]
)
def test_a_step_equals_numpy_by_hand(options: dict[str, Any]) -> None:
    rule, batch, s = make(**options), batch_of(), Step(Randomness(0))
    actual = gradients(rule, batch, s)
    expected, loss = by_hand(rule, rule.prepare(batch, s))
    assert actual.keys() == expected.keys()
    for name, grad in expected.items():
        assert np.abs(grad).max() > 1e-4, name
        np.testing.assert_allclose(actual[name].numpy(), grad, rtol=0, atol=1e-13, err_msg=name)
    assert s.logs["loss"].item() == pytest.approx(loss, rel=1e-12)


@NET
def test_later_blocks_do_not_change_gradients_of_earlier_ones(net: str) -> None:
    rule, batch = make(NETS[net]), batch_of()
    clean = gradients(rule, batch)
    blocks = rule.network.blocks
    assert {name.split(".")[2] for name in clean} == {str(k) for k in range(len(blocks))}
    with torch.no_grad():
        for p in blocks[-1].parameters():
            p.fill_(math.nan)
    broken = gradients(rule, batch)
    for name, grad in clean.items():
        last = name.startswith(f"network.blocks.{len(blocks) - 1}.")
        assert torch.equal(broken[name], grad) != last, name


@NET
def test_a_block_ignores_the_scale_of_an_examples_input(net: str) -> None:
    rule, batch = make(NETS[net]), batch_of()
    actual = []
    for scale in (torch.ones(8), torch.tensor([0.5, 2.0, 4.0, 0.25, 8.0, 1.0, 16.0, 0.125])):
        grads: dict[str, Tensor] = {}
        rule.attach({group.name: grads.update for group in rule.groups()})
        x = batch.x * scale.double().view(-1, 1, 1, 1)
        h = rule.train_block(0, x, batch, Step(Randomness(0)))
        actual.append({**grads, "emitted": h})
    one, other = actual
    for name, value in one.items():
        torch.testing.assert_close(other[name], value)


def test_an_input_of_zeros_stays_zero() -> None:
    rule, batch = make(), batch_of()
    rule.attach({group.name: lambda grads: None for group in rule.groups()})
    h = rule.train_block(0, torch.zeros_like(batch.x), batch, Step(Randomness(0)))
    bias = rule.network.blocks[0].layer.affine.bias
    torch.testing.assert_close(h, torch.relu(bias).expand_as(h))


def test_batchnorm_sees_own_and_wrong_labels_in_one_batch() -> None:
    rule, batch, s = make(NETS["cnn"]), batch_of(), Step(Randomness(0))
    gradients(rule, batch, s)
    x = rule.prepare(batch, s).x
    x = x / x.square().mean((1, 2, 3), keepdim=True).sqrt()
    first = rule.network.blocks[0].layer
    z = first.affine(x)
    assert first.norm.num_batches_tracked == 1
    torch.testing.assert_close(first.norm.running_mean, 0.1 * z.mean((0, 2, 3)))


def test_the_threshold_is_half_behind_a_normalisation() -> None:
    assert make().thetas == [1.0] * 3
    assert make(goodness="mean").thetas == [2.0] * 3
    assert make(NETS["cnn"]).thetas == [0.5] * 3
    assert make(Cnn(widths=(6, 5), norm="none")).thetas == [1.0] * 2
    assert make(NETS["cnn"], theta=0.7).thetas == [0.7] * 3


# Prediction


@pytest.mark.parametrize("widths", [(7, 6, 5), (7,)])
@pytest.mark.parametrize("goodness", ["sum", "mean"])
def test_the_predicted_label_has_the_highest_goodness_over_later_blocks(
    widths: tuple[int, ...], goodness: str
) -> None:
    rule, batch = make(Mlp(widths=widths), goodness=goodness), batch_of(20)
    p = {name: value.detach().numpy() for name, value in rule.named_parameters()}
    totals = np.zeros((20, CLASSES))
    for b in range(20):
        for label in range(CLASSES):
            x = batch.x[b].numpy().flatten()
            low, high = x.min(), x.max()
            x[:CLASSES] = low
            x[label] = high
            for k in range(len(widths)):
                x = x / np.sqrt((x**2).mean())
                layer = f"network.blocks.{k}.layer.affine"
                x = np.maximum(p[f"{layer}.weight"] @ x + p[f"{layer}.bias"], 0)
                if k > 0 or len(widths) == 1:
                    totals[b, label] += (x**2).sum() if goodness == "sum" else (x**2).mean()
    actual = rule.eval().predict(batch.x.clone())
    expected = totals - totals.max(1, keepdims=True)
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=0, atol=1e-12)
    assert len(set(totals.argmax(1))) > 1


@NET
def test_prediction_ignores_the_values_of_the_labels_pixels(net: str) -> None:
    rule, batch = make(NETS[net]).eval(), batch_of(20)
    x = batch.x
    x[:, :, 3, 2:] = torch.tensor([0.0, 1.0], dtype=torch.float64)  # darkest and brightest
    right, wrong = (overlaid(x, labels, CLASSES) for labels in (batch.target, 3 - batch.target))
    expected = rule.predict(x)
    assert torch.equal(rule.predict(right), expected)
    assert torch.equal(rule.predict(wrong), expected)
    assert not torch.equal(right, wrong)


def test_prediction_does_not_change_the_images() -> None:
    rule, batch = make(), batch_of()
    before = batch.x.clone()
    rule.predict(batch.x)
    rule.prepare(batch, Step(Randomness(0)))
    assert torch.equal(batch.x, before)


def test_every_parameter_is_trained() -> None:
    rule = make()
    assert gradients(rule, batch_of()).keys() == dict(rule.named_parameters()).keys()


# Claims and learning


@pytest.mark.parametrize(
    ("net", "transport", "depth", "couples"),
    [
        ("mlp", "none", 0, "none"),
        ("cnn", "none", 0, "mean"),
        ("resnet", "full", 1, "mean"),
        ("mixer", "full", 2, "none"),
    ],
)
def test_only_blocks_of_several_layers_transport_weights(
    net: str, transport: str, depth: int, couples: str
) -> None:
    network = NETS[net].build(Init(0), (1, 4, 4), CLASSES)
    claims = ForwardForward.claims(ForwardForward.Config(), network)
    assert (claims.transport, claims.backward_depth) == (transport, depth)
    assert (claims.couples, claims.global_error) == (couples, "none")
    assert claims.update_locked is False


@pytest.mark.parametrize("goodness", ["sum", "mean"])
def test_sixty_four_digits_are_learned_without_error(goodness: str) -> None:
    split = Digits().load().train
    x = torch.from_numpy(split.images[:64] / 255.0)
    batch = Batch(x, torch.from_numpy(split.labels[:64]))
    rule = make(Mlp(widths=(100, 100)), shape=(1, 8, 8), classes=10, goodness=goodness)
    recipe = Recipe(optimizer="adam", lr=3e-3)
    rule.attach({group.name: Update(group, recipe) for group in rule.groups() if group.params})
    for index in range(1000):
        s = Step(Randomness(0), index)
        rule.step(rule.prepare(batch, s), s)
        if index % 25 == 24 and (rule.predict(batch.x).argmax(1) == batch.target).all():
            return
    pytest.fail("still wrong on some after 1000 steps")
