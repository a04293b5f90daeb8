"""frozen and softmax_regression: models without a trained hidden layer."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.init import Init
from lbench.recipe import Recipe
from lbench.rule import Rule
from lbench.task import Task
from lbench.training.job import parameters
from lbench_bp.bp import Bp
from lbench_greedy.frozen import Frozen
from lbench_greedy.softmax_regression import SoftmaxRegression
from tests.auditing.networks import UNUSUAL
from tests.plugins.small import (
    CLASSES,
    NETS,
    SHAPE,
    assert_same,
    batch_of,
    descend,
    gradients,
    make,
)
from tests.training.helper import ask, run

NET = pytest.mark.parametrize("net", NETS)


def output_error(logits: Tensor, target: Tensor) -> Tensor:
    """Return the output error (p − e_t) / B."""
    p = (logits - logits.logsumexp(1, keepdim=True)).exp()
    return (p - F.one_hot(target, CLASSES)) / len(target)


@NET
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_a_frozen_trunks_readout_has_the_gradient_of_bp(net: str, dropout: float) -> None:
    actual = gradients(make(Frozen, NETS[net], scale=1.0, dropout=dropout), batch_of())
    assert set(actual) == {"network.readout.linear.weight", "network.readout.linear.bias"}
    expected = gradients(make(Bp, NETS[net], dropout=dropout), batch_of())
    assert_same(actual, {name: expected[name] for name in actual})


@NET
def test_the_readouts_gradient_is_the_output_error_times_features(net: str) -> None:
    rule, batch = make(Frozen, NETS[net]), batch_of()
    actual = gradients(rule, batch)
    with torch.no_grad():
        h = batch.x
        for block in rule.network.blocks:
            h = block(h)
        h = h.flatten(2).mean(2) if h.dim() == 4 else h
        e = output_error(rule.network.readout(h), batch.target)
    expected = {"weight": e.T @ h, "bias": e.sum(0)}
    assert_same(actual, {f"network.readout.linear.{k}": v for k, v in expected.items()})


@NET
def test_training_leaves_the_trunk_bit_identical_and_lowers_the_loss(net: str) -> None:
    rule, batch = make(Frozen, NETS[net], scale=2.0), batch_of()
    before = copy.deepcopy(rule.network.blocks)

    def loss() -> float:
        return F.cross_entropy(rule.network(batch.x), batch.target).item()

    first = loss()
    for _ in range(20):
        descend(rule, gradients(rule, batch), lr=0.2)
    assert loss() < first
    for old, new in zip(before.parameters(), rule.network.blocks.parameters(), strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("net", ["cnn", "resnet"])
def test_batchnorm_of_a_frozen_trunk_learns_the_datas_statistics(net: str) -> None:
    """Training and prediction then use the same features, as in bp."""
    rule, bp = make(Frozen, NETS[net], scale=1.0), make(Bp, NETS[net])
    batch = batch_of(60)
    for _ in range(60):
        gradients(rule, batch)
        gradients(bp, batch)
    expected = dict(bp.named_buffers())
    assert all(torch.equal(value, expected[name]) for name, value in rule.named_buffers())
    trained = rule.network(batch.x)
    rule.eval()
    # Variances are biased in training, and unbiased in the running statistics.
    assert (rule.predict(batch.x) - trained).abs().max() < 0.1 * trained.abs().max()


def test_scale_multiplies_only_the_trunks_weights() -> None:
    plain, scaled = make(Frozen, NETS["mlp"], scale=1.0), make(Frozen, NETS["mlp"], scale=3.0)
    for (name, p), q in zip(plain.named_parameters(), scaled.parameters(), strict=True):
        factor = 3.0 if name.startswith("network.blocks.") and name.endswith("weight") else 1.0
        torch.testing.assert_close(q, factor * p)


def test_batchnorm_cancels_the_scale() -> None:
    batch = batch_of()
    one, other = (make(Frozen, NETS["cnn"], scale=scale).network(batch.x) for scale in (1.0, 30.0))
    assert (one - other).abs().max() < 1e-3 * one.abs().max()


@NET
def test_parameters_of_null_models_are_counted_by_their_use(net: str) -> None:
    rule = make(Frozen, NETS[net])
    trunk = sum(p.numel() for p in rule.network.blocks.parameters())
    readout = sum(p.numel() for p in rule.network.readout.parameters())
    assert parameters(rule.float(), SHAPE) == {"inf": readout, "aux": 0, "fix": trunk}
    rule = make(SoftmaxRegression, NETS[net])
    linear = 2 * 4 * 4 * CLASSES + CLASSES
    assert parameters(rule.float(), SHAPE) == {"inf": linear, "aux": 0, "fix": trunk}


@NET
def test_regression_has_the_gradient_in_closed_form_on_any_network(net: str) -> None:
    rule, batch = make(SoftmaxRegression, NETS[net]), batch_of()
    x = batch.x.reshape(len(batch.x), -1)
    logits = x @ rule.linear.weight.T + rule.linear.bias
    e = output_error(logits.detach(), batch.target)
    expected = {"linear.weight": e.T @ x, "linear.bias": e.sum(0)}
    assert_same(gradients(rule, batch), expected)
    assert torch.equal(rule.predict(batch.x), logits)


def test_regression_never_runs_the_network() -> None:
    rule, batch = make(SoftmaxRegression, NETS["cnn"]), batch_of()
    before = gradients(rule, batch), rule.predict(batch.x)
    for p in rule.network.parameters():
        p.data.fill_(torch.nan)
    assert_same(gradients(rule, batch), before[0])
    assert torch.equal(rule.predict(batch.x), before[1])


@pytest.mark.slow
@pytest.mark.thorough
def test_regression_on_digits_has_the_error_of_scikit_learn(tmp_path: Path) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    resolved = ask("softmax_regression", epochs=30)
    data = resolved.dataset
    split = {
        name: (part.images.reshape(len(part.labels), -1) / 255.0, part.labels)
        for name, part in (("train", data.train), ("test", data.test))
    }
    model = linear_model.LogisticRegression(max_iter=2000).fit(*split["train"])
    expected = 100 * (1 - model.score(*split["test"]))
    assert run(tmp_path, resolved)[0].result["test_error"] == pytest.approx(expected, abs=1.0)


@pytest.mark.parametrize(("rule", "least"), [(Frozen, 3e-3), (SoftmaxRegression, 1e-2)])
def test_the_rate_of_regression_is_not_a_multiple_of_the_datasets(
    rule: type[Rule], least: float
) -> None:
    """On MNIST regression is worse at 0.03 than at 0.01."""
    for given, own in ((1e-4, least), (least / 2, least), (0.5, 0.5)):
        assert rule.recipe(Recipe(lr=given), "mnist", "mlp") == Recipe(lr=own)


def test_random_features_of_digits_are_better_than_chance(tmp_path: Path) -> None:
    result = run(tmp_path, ask("frozen", epochs=8))[0].result
    assert result["test_error"] < 50


def test_weights_made_from_others_are_scaled_too() -> None:
    network = UNUSUAL["weight norm"].build(Init(0), SHAPE, 3)
    before = [layer.affine.weight.detach().clone() for layer in network.layers]
    Frozen(network, Task("toy", SHAPE, 3), Frozen.Config(scale=3.0), Init(1))
    for layer, weight in zip(network.layers, before, strict=True):
        torch.testing.assert_close(layer.affine.weight, 3 * weight)
