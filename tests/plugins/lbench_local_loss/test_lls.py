"""lls: logits of blocks from fixed waves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lbench.init import Init
from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.training.job import parameters
from lbench_local_loss.lls import Lls

from .small import CLASSES, NETS, batch_of, gradients, make

MODE = pytest.mark.parametrize("mode", ["fixed", "gain", "mixing"])


@pytest.mark.parametrize("basis", ["cosine", "square"])
def test_the_basis_is_a_sine_of_one_frequency_per_class(basis: str) -> None:
    rule = make(Mlp(widths=(9,)), Lls, classes=5, basis=basis)
    for k, frequency in enumerate((50, 165.5, 281, 396.5, 512)):
        for j in range(9):
            expected = math.sin(frequency * j)
            if basis == "square":
                expected = float(np.sign(expected))
            assert rule.waves[0].basis[k, j].item() == pytest.approx(expected, abs=1e-7)


def test_a_step_equals_numpy_by_hand() -> None:
    """The gradient of the normalisation is the part orthogonal to a, over the length of h."""
    rule, batch = make(rule=Lls, temperature=0.5), batch_of(9)
    p = {name: value.detach().numpy() for name, value in rule.named_parameters()}
    actual, x = gradients(rule, batch), batch.x.flatten(1).numpy()
    for k in range(2):
        layer, basis = f"network.blocks.{k}.layer.affine", rule.waves[k].basis.numpy()
        z = x @ p[f"{layer}.weight"].T + p[f"{layer}.bias"]
        h = np.maximum(z, 0)
        length = np.sqrt((h**2).sum(1, keepdims=True))
        a = h / length
        e = np.exp(a @ basis.T / 0.5)
        logits_grad = (e / e.sum(1, keepdims=True) - np.eye(CLASSES)[batch.target.numpy()]) / 9
        da = logits_grad @ basis / 0.5
        dz = (da - a * (a * da).sum(1, keepdims=True)) / length * (z > 0)
        for name, grad in ((f"{layer}.weight", dz.T @ x), (f"{layer}.bias", dz.sum(0))):
            assert np.abs(grad).max() > 1e-4
            np.testing.assert_allclose(actual[name].numpy(), grad, rtol=0, atol=1e-14, err_msg=name)
        x = h


@MODE
def test_logits_do_not_depend_on_the_length_of_h(mode: str) -> None:
    rule = make(rule=Lls, mode=mode)
    h = torch.rand(4, 7, dtype=torch.float64)
    scale = torch.tensor([[0.1], [1], [3], [1000]], dtype=torch.float64)
    torch.testing.assert_close(rule.waves[0](scale * h), rule.waves[0](h))


def test_the_first_block_is_averaged_to_4x4_and_later_ones_to_2x2() -> None:
    rule = make(Cnn(widths=(3, 3)), Lls, shape=(1, 16, 16))
    for wave, side, cells in ((rule.waves[0], 16, 4), (rule.waves[1], 8, 2)):
        h = torch.rand(5, 3, side, side, dtype=torch.float64)
        step, means = side // cells, []
        for c in range(3):
            for i in range(cells):
                for j in range(cells):
                    cell = h[:, c, i * step : (i + 1) * step, j * step : (j + 1) * step]
                    means.append(cell.sum((1, 2)) / step**2)
        a = torch.stack(means, 1)
        a = a / a.square().sum(1, keepdim=True).sqrt()
        torch.testing.assert_close(wave(h), a @ wave.basis.T)


def test_small_maps_are_not_enlarged() -> None:
    rule = make(NETS["cnn"], Lls, shape=(1, 2, 2))
    assert [wave.basis.shape[1] for wave in rule.waves] == [6 * 2 * 2, 5 * 2 * 2]


@MODE
def test_each_mode_trains_its_own_parameters_behind_the_basis(mode: str) -> None:
    rule, h = make(rule=Lls, mode=mode), torch.rand(4, 7, dtype=torch.float64)
    plain = make(rule=Lls).waves[0](h)
    own: dict[str, Tensor] = dict(rule.waves[0].named_parameters())
    assert all(0 < p.abs().max() < 0.05 for p in own.values())
    expected = {
        "fixed": lambda: plain,
        "gain": lambda: plain * own["gain"],
        "mixing": lambda: plain @ own["mixing.weight"].T,
    }[mode]()
    torch.testing.assert_close(rule.waves[0](h), expected)


@pytest.mark.parametrize(("mode", "heads"), [("fixed", 0), ("gain", 20), ("mixing", 200)])
def test_the_basis_is_no_parameter(mode: str, heads: int) -> None:
    rule = make(Mlp(widths=(20, 30)), Lls, classes=10, mode=mode).float()
    counts = parameters(rule, (1, 4, 4))
    assert (counts["aux"], counts["fix"]) == (heads, 0)
    assert not any("basis" in name for name in rule.state_dict())


@pytest.mark.parametrize(
    ("options", "net", "depth"),
    [
        ({}, "mlp", 0),
        ({}, "resnet", 1),
        ({"mode": "gain"}, "cnn", 0),
        ({"mode": "mixing"}, "cnn", 1),
        ({"mode": "mixing"}, "resnet", 2),
    ],
)
def test_only_a_mixing_matrix_is_transported(options: Any, net: str, depth: int) -> None:
    network = NETS[net].build(Init(0), (1, 4, 4), CLASSES)
    claims = Lls.claims(Lls.Config(**options), network)
    assert claims.backward_depth == depth
    assert claims.transport == ("full" if depth else "none")
    assert (claims.couples, claims.update_locked) == (network.couples, False)
