"""pred_bio learns random bits, with feedback weights that are not those of its decoder."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lbench.init import Init
from lbench.networks.cnn import Cnn
from lbench_local_loss.pred_bio import PredBio

from .small import CLASSES, NETS, batch_of, gradients, make


def test_a_step_equals_numpy_by_hand() -> None:
    rule, batch = make(rule=PredBio), batch_of(9)
    p = {name: value.detach().numpy() for name, value in rule.named_parameters()}
    actual, x = gradients(rule, batch), batch.x.flatten(1).numpy()
    for k in range(2):
        layer, head = f"network.blocks.{k}.layer.affine", f"predictors.{k}.linear"
        z = x @ p[f"{layer}.weight"].T + p[f"{layer}.bias"]
        h = np.maximum(z, 0)
        bits = p[f"codes.{k}"][batch.target.numpy()] > 0
        logits = h @ p[f"{head}.weight"].T + p[f"{head}.bias"]
        logits_grad = (1 / (1 + np.exp(-logits)) - bits) / bits.size
        dz = logits_grad @ p[f"{head}.feedback.weight"] * (z > 0)
        expected = {
            f"{head}.weight": logits_grad.T @ h,
            f"{head}.bias": logits_grad.sum(0),
            f"{layer}.weight": dz.T @ x,
            f"{layer}.bias": dz.sum(0),
        }
        for name, grad in expected.items():
            np.testing.assert_allclose(actual[name].numpy(), grad, rtol=0, atol=1e-14, err_msg=name)
        x = h


@pytest.mark.parametrize("net", ["mlp", "cnn"])
def test_blocks_learn_through_the_feedback_and_not_the_decoders_weights(net: str) -> None:
    """Decoder weights with the same outputs do not change blocks; other feedback does."""
    rule, batch = make(NETS[net], PredBio), batch_of(3)
    before = gradients(rule, batch)
    inputs: list[Tensor] = []
    decoder = rule.predictors[0].linear
    decoder.register_forward_pre_hook(lambda module, args: inputs.append(args[0].detach()))
    gradients(rule, batch)
    rows = torch.linalg.svd(inputs[0])[2][3:]  # orthogonal to the decoder's inputs for 3 examples
    with torch.no_grad():
        decoder.weight += 5 * torch.randn(128, len(rows), dtype=torch.float64) @ rows
    after = gradients(rule, batch)
    for name, grad in before.items():
        torch.testing.assert_close(after[name], grad, msg=name)
    with torch.no_grad():
        decoder.feedback.weight.neg_()
    turned = gradients(rule, batch)
    for name, grad in before.items():
        sign = -1 if name.startswith("network.blocks.0.") else 1
        torch.testing.assert_close(turned[name], sign * grad, msg=name)


def test_the_decoder_starts_at_0_and_its_feedback_is_uniform() -> None:
    init = Init(0)
    network = Cnn(widths=(6, 5)).build(init, (1, 4, 4), CLASSES)
    rule = PredBio(network, make().task, PredBio.Config(features=6 * 8), init)
    decoder = rule.predictors[0].linear
    assert not decoder.weight.any()
    assert not decoder.bias.any()
    assert decoder.feedback.weight.shape == (128, 6 * 8)
    largest = decoder.feedback.weight.abs().max().item()
    assert 0.99 / math.sqrt(48) < largest <= 1 / math.sqrt(48)
    assert gradients(rule.double(), batch_of())["network.blocks.0.layer.affine.weight"].any()
