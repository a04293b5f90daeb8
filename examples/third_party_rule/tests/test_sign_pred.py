"""sign_pred passes the conformance kit, and satisfies equations (1) to (3)."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor

from lbench import Init, Network, Step, Task, View
from lbench.networks.mlp import Mlp
from lbench.networks.resnet import Resnet
from lbench.randomness import Randomness
from lbench.testing import RuleConformance
from lbench_rule_sign_pred.sign_pred import SignPred

SHAPE, CLASSES = (1, 4, 4), 5


class TestConformance(RuleConformance):
    rule = "sign_pred"
    quick = False


class TestConformanceWithWrongSigns(RuleConformance):
    rule = "sign_pred"
    options: ClassVar = {"wrong": 0.2}


def build(wrong: float = 0.0) -> SignPred:
    init = Init(0)
    network = Mlp(widths=(8, 6)).build(init, SHAPE, CLASSES)
    return SignPred(network, Task("toy", SHAPE, CLASSES), SignPred.Config(wrong=wrong), init)


def view() -> View:
    h = torch.rand(3, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    return View(k=1, x0=h, x=h, z=h, h=h, target=torch.tensor([0, 4, 2]))


def gradients(rule: SignPred, v: View) -> tuple[Tensor, ...]:
    loss = rule.loss(v, Step(Randomness(0)))
    return torch.autograd.grad(loss, [v.h, rule.heads[1].weight, rule.heads[1].bias])


def test_the_classifier_gets_its_exact_gradient_and_the_block_the_signs() -> None:
    rule, v = build(), view()
    weight, bias = rule.heads[1].weight, rule.heads[1].bias
    e = (torch.softmax(v.h @ weight.T + bias, 1) - torch.eye(CLASSES)[v.target]) / len(v.h)
    dh, dweight, dbias = gradients(rule, v)
    torch.testing.assert_close(dweight, e.T @ v.h)
    torch.testing.assert_close(dbias, e.sum(0))
    torch.testing.assert_close(dh, e @ torch.sign(weight) / 6**0.5)


def test_the_loss_has_the_value_of_the_cross_entropy() -> None:
    rule, v = build(), view()
    expected = torch.nn.functional.cross_entropy(rule.heads[1](v.h), v.target)
    assert torch.equal(rule.loss(v, Step(Randomness(0))), expected)


def test_a_share_of_the_signs_is_reversed_when_the_rule_is_made() -> None:
    init = Init(0)
    network = Mlp(widths=(2000,)).build(init, SHAPE, CLASSES)
    rule = SignPred(network, Task("toy", SHAPE, CLASSES), SignPred.Config(wrong=0.2), init)
    (mask,) = rule.masks
    assert mask.unique().tolist() == [-1, 1]
    assert (mask < 0).float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert not mask.requires_grad
    assert torch.equal(rule.feedback(0).sign(), mask * rule.heads[0].weight.sign())


@pytest.mark.parametrize(
    ("network", "transport", "depth"),
    [
        (Mlp(widths=(8, 6)).build(Init(0), SHAPE, CLASSES), "sign", 1),
        (Mlp(widths=(8, 6)).build(Init(0), SHAPE, CLASSES).regrouped(1), "full", 2),
        (Resnet(depth=8, width=8).build(Init(0), SHAPE, CLASSES), "full", 2),
    ],
)
def test_blocks_of_several_layers_transport_their_weights(
    network: Network, transport: str, depth: int
) -> None:
    claims = SignPred.claims(SignPred.Config(), network)
    assert (claims.transport, claims.backward_depth) == (transport, depth)
