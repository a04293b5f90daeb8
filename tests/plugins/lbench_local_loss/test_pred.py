"""pred is backpropagation through one block and a classifier."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lbench.init import Init
from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.networks.spec import NetworkSpec
from lbench_bp.bp import Bp
from lbench_local_loss.pred import Pred

from .small import CLASSES, NET, NETS, batch_of, gradients, make


@pytest.mark.parametrize(
    "net", [Mlp(widths=(7,)), Cnn(widths=(6,)), Cnn(widths=(6,), norm="group")], ids=repr
)
def test_one_block_whose_head_is_the_readout_has_the_gradient_of_bp(net: NetworkSpec) -> None:
    """A head with as many inputs as channels averages over all positions, like the readout."""
    batch = batch_of()
    rule, bp = make(net, Pred, features=7), make(net, Bp)
    rule.predictors[0].linear.load_state_dict(bp.network.readout.linear.state_dict())
    actual, expected = gradients(rule, batch), gradients(bp, batch)
    for name, grad in expected.items():
        own = name.replace("network.readout.", "predictors.0.")
        torch.testing.assert_close(actual[own], grad, rtol=0, atol=1e-14)


def test_a_step_equals_numpy_by_hand() -> None:
    rule, batch = make(rule=Pred), batch_of(9)
    p = {name: value.detach().numpy() for name, value in rule.named_parameters()}
    actual, x = gradients(rule, batch), batch.x.flatten(1).numpy()
    for k in range(2):
        layer, head = f"network.blocks.{k}.layer.affine", f"predictors.{k}.linear"
        z = x @ p[f"{layer}.weight"].T + p[f"{layer}.bias"]
        h = np.maximum(z, 0)
        e = np.exp(h @ p[f"{head}.weight"].T + p[f"{head}.bias"])
        logits_grad = (e / e.sum(1, keepdims=True) - np.eye(CLASSES)[batch.target.numpy()]) / 9
        dz = logits_grad @ p[f"{head}.weight"] * (z > 0)
        expected = {
            f"{head}.weight": logits_grad.T @ h,
            f"{head}.bias": logits_grad.sum(0),
            f"{layer}.weight": dz.T @ x,
            f"{layer}.bias": dz.sum(0),
        }
        for name, grad in expected.items():
            np.testing.assert_allclose(actual[name].numpy(), grad, rtol=0, atol=1e-14, err_msg=name)
        x = h


@NET
def test_a_head_that_starts_at_0_gives_its_block_no_gradient_in_the_first_step(net: str) -> None:
    rule = make(NETS[net], Pred)
    with torch.no_grad():
        for head in rule.predictors:
            head.linear.weight.zero_()
    for name, grad in gradients(rule, batch_of()).items():
        assert bool(grad.any()) == (not name.startswith("network.blocks.")), name


def test_new_heads_predict_the_same_for_every_input() -> None:
    net = Mlp(widths=(7, 6)).build(Init(0), (1, 4, 4), CLASSES)
    rule = Pred(net, make().task, Pred.Config(), Init(1))
    for head in rule.predictors:
        logits = head(torch.randn(5, head.linear.in_features))
        assert torch.equal(logits, logits[:1].expand(5, -1))


def test_large_feature_maps_are_averaged_in_front_of_the_head() -> None:
    rule, batch = make(Cnn(widths=(6,)), Pred, features=6 * 4), batch_of()
    head = rule.predictors[0].linear
    h = rule.network.blocks[0].preactivation(batch.x).relu()
    means = h.unflatten(3, (2, 2)).unflatten(2, (2, 2)).mean((3, 5)).flatten(1)
    expected = F.cross_entropy(F.linear(means, head.weight, head.bias), batch.target)
    weight = rule.network.blocks[0].layer.affine.weight
    (grad,) = torch.autograd.grad(expected, weight)
    actual = gradients(rule, batch)["network.blocks.0.layer.affine.weight"]
    torch.testing.assert_close(actual, grad)


def test_the_papers_mlp_has_heads_of_30750_parameters() -> None:
    rule = make(Mlp(widths=(1024,) * 3), Pred, shape=(1, 28, 28), classes=10)
    inference = sum(p.numel() for p in rule.network.parameters())
    heads = sum(p.numel() for p in rule.parameters()) - inference
    assert (inference, heads) == (2_913_290, 3 * (1024 * 10 + 10))


@pytest.mark.parametrize(("net", "depth"), [("mlp", 1), ("cnn", 1), ("resnet", 2), ("mixer", 3)])
def test_the_backward_depth_is_that_of_a_block_and_its_head(net: str, depth: int) -> None:
    network = NETS[net].build(Init(0), (1, 4, 4), CLASSES)
    claims = Pred.claims(Pred.Config(), network)
    assert (claims.transport, claims.backward_depth) == ("full", depth)
    assert (claims.couples, claims.global_error) == (network.couples, "none")
