"""The probe linear agrees with scikit-learn and with known cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge

from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.probe import hidden
from lbench.rule import Rule
from lbench_bp.bp import Bp
from lbench_contrast.forward_forward import ForwardForward
from lbench_greedy.softmax_regression import SoftmaxRegression
from lbench_probes.probes.linear import FEATURES, FIT, PENALTY, Linear, flat
from lbench_probes.probes.ridge import Ridge
from tests.probes.scene import CLASSES, SHAPE, GaussianClasses, batch, made, recorded, scene


def rows_of(rule: Rule) -> dict[int, dict[str, Any]]:
    probe = Linear("linear", scene(rule))
    return {row["block"]: row for row in recorded(probe, lambda: probe.epoch_end(1, 10))}


def test_the_closed_form_is_that_of_scikit_learn() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(300, 7, generator=g, dtype=torch.float64) * torch.arange(1, 8) + 3
    x[:, 4] = 2.7  # constant
    target = torch.randint(CLASSES, (300,), generator=g)
    ridge = Ridge(7, CLASSES, torch.device("cpu"))
    for part in range(0, 300, 70):
        ridge.add(x[part : part + 70], target[part : part + 70])
    weight, bias = ridge.solve(0.01)
    mean, std = x.mean(0), x.std(0, correction=0)
    std[4] = 1
    theirs = SklearnRidge(alpha=0.01 * 300, solver="cholesky")
    theirs.fit(((x - mean) / std).numpy(), np.eye(CLASSES)[target.numpy()])
    expected = theirs.predict(((x - mean) / std).numpy())
    assert np.allclose((x @ weight + bias).numpy(), expected, atol=1e-9)
    assert torch.equal(weight[4], torch.zeros(CLASSES, dtype=torch.float64))


def test_errors_are_those_of_a_fit_to_the_outputs_of_blocks() -> None:
    rule = made(Bp, Mlp(widths=(9, 8)))
    rows = rows_of(rule)
    assert list(rows) == [-1, 0, 1]
    assert [row["features"] for row in rows.values()] == [2 * 4 * 4, 9, 8]
    training, heldout = GaussianClasses(400, 1), GaussianClasses(200, 2)
    with torch.no_grad():
        x, y = training.images, heldout.images
        for k, block in enumerate(rule.network.blocks):
            x, y = block(x), block(y)
            ridge = Ridge(x.shape[1], CLASSES, x.device)
            ridge.add(x.double(), training.labels)
            weight, bias = ridge.solve(PENALTY)
            for data, features, column in ((training, x, "fit_error"), (heldout, y, "error")):
                wrong = (features.double() @ weight + bias).argmax(1) != data.labels
                assert rows[k][column] == pytest.approx(100 * wrong.double().mean().item(), abs=0.6)


def test_gaussian_classes_are_read_from_the_input_and_noise_is_not() -> None:
    rule = made(Bp, Mlp(widths=(9, 8)))
    with torch.no_grad():
        rule.network.blocks[1].layer.affine.weight.zero_()
    rows = rows_of(rule)
    assert rows[-1]["error"] < 5
    assert rows[1]["error"] == pytest.approx(100 * (1 - 1 / CLASSES))


def test_a_fit_uses_a_limited_number_of_training_examples() -> None:
    rule = made(Bp, Mlp(widths=(9,)))
    probe = Linear("linear", scene(rule, training=FIT + 500))
    assert len(probe.idx) == FIT
    assert len(set(probe.idx.tolist())) == FIT
    assert len(Linear("linear", scene(rule, training=300)).idx) == 300


def test_maps_are_pooled_until_their_features_are_few_enough() -> None:
    assert flat(torch.zeros(3, 40, 32, 32)).shape == (3, 40 * 5 * 5)
    assert flat(torch.zeros(3, 40, 5, 5)).shape == (3, 1000)
    assert flat(torch.zeros(3, 3000, 4, 4)).shape == (3, 3000)
    assert flat(torch.zeros(3, 3000)).shape == (3, 3000)
    assert flat(torch.zeros(3, 1, 28, 28)).shape == (3, 784)
    assert FEATURES == 1024


def test_activations_are_those_of_the_rules_own_predict() -> None:
    """Use forward_forward, which normalises between blocks, and softmax_regression without any."""
    rule = made(ForwardForward, Mlp(widths=(9, 8))).eval()
    with torch.no_grad():
        activations = hidden(rule, batch().x)
        h = activations[0][1]
        scaled = h / h.square().mean(1, keepdim=True).sqrt().clamp_min(1e-8)
        expected = rule.network.blocks[1].preactivation(scaled)
    assert torch.allclose(activations[1][0], expected, atol=1e-4)
    assert list(rows_of(made(SoftmaxRegression, Mlp(widths=(9,))))) == [-1]
    assert list(rows_of(made(Bp, Cnn(widths=(4, 6))))) == [-1, 0, 1]
    assert SHAPE == (2, 4, 4)
