"""mono_forward predicts with the logits that its blocks minimise the loss of."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lbench.init import Init
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.step import Step
from lbench.training.job import parameters
from lbench_bp.bp import Bp
from lbench_local_loss.mono_forward import MonoForward
from lbench_local_loss.pred import Pred

from .small import CLASSES, NET, NETS, batch_of, gradients, make


def test_one_block_whose_matrix_is_the_readout_is_bp() -> None:
    net, batch = Mlp(widths=(7,)), batch_of()
    rule, bp = make(net, MonoForward), make(net, Bp)
    with torch.no_grad():
        bp.network.readout.linear.bias.zero_()
        rule.projections[0].weight.copy_(bp.network.readout.linear.weight)
    actual, expected = gradients(rule, batch), gradients(bp, batch)
    del expected["network.readout.linear.bias"]  # there is no bias
    assert len(actual) == len(expected)
    for name, grad in expected.items():
        own = name.replace("network.readout.linear.", "projections.0.")
        torch.testing.assert_close(actual[own], grad, rtol=0, atol=1e-15)
    torch.testing.assert_close(rule.predict(batch.x), bp.predict(batch.x))


@NET
def test_blocks_learn_as_in_pred_with_heads_without_bias(net: str) -> None:
    batch = batch_of()
    rule, pred = make(NETS[net], MonoForward), make(NETS[net], Pred)
    with torch.no_grad():
        for matrix, head in zip(rule.projections, pred.predictors, strict=True):
            head.linear.bias.zero_()
            head.linear.weight.copy_(matrix.weight)
    actual, expected = gradients(rule, batch), gradients(pred, batch)
    for name, grad in actual.items():
        other = name if name.startswith("network.") else (
            name.replace("projections.", "predictors.").replace(".weight", ".linear.weight")
        )  # fmt: skip
        torch.testing.assert_close(grad, expected[other], rtol=0, atol=1e-15)


@NET
@pytest.mark.parametrize("score", ["last", "sum"])
def test_the_prediction_is_the_goodness_before_pooling(net: str, score: str) -> None:
    rule, batch = make(NETS[net], MonoForward, score=score, dropout=0.5).eval(), batch_of()
    x, logits = batch.x, []
    for block, matrix in zip(rule.network.blocks, rule.projections, strict=True):
        h = block.preactivation(x).relu()
        logits.append(torch.einsum("bn,kn->bk", h.flatten(1), matrix.weight))
        x = block.emit(h)
    expected = logits[-1] if score == "last" else sum(logits)
    torch.testing.assert_close(rule.predict(batch.x), expected)


def test_the_logged_loss_is_the_last_blocks() -> None:
    rule, batch, s = make(rule=MonoForward), batch_of(), Step(Randomness(0))
    expected = F.cross_entropy(rule.predict(batch.x), batch.target)
    gradients(rule, batch, s)
    torch.testing.assert_close(s.logs["loss"], expected)


@pytest.mark.parametrize(("score", "heads"), [("last", 30 * 10), ("sum", (20 + 30) * 10)])
def test_the_matrices_that_predict_count_as_inference(score: str, heads: int) -> None:
    rule = make(Mlp(widths=(20, 30)), MonoForward, classes=10, score=score).float()
    counts = parameters(rule, (1, 4, 4))
    assert counts["inf"] == 20 * 17 + 30 * 21 + heads
    assert counts["aux"] == 50 * 10 - heads
    assert counts["fix"] == 0


def test_there_is_no_readout() -> None:
    rule = make(rule=MonoForward)
    assert isinstance(rule.network.readout, nn.Identity)
    assert not {group.name: group.params for group in rule.groups()}["readout"]
    network = NETS["cnn"].build(Init(0), (1, 4, 4), CLASSES)
    claims = MonoForward.claims(MonoForward.Config(), network)
    assert (claims.transport, claims.backward_depth, claims.couples) == ("full", 1, "mean")
