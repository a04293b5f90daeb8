"""lfnn_v2: one gradient of three terms, by backpropagation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.data.digits import Digits
from lbench.init import Init
from lbench.networks.mlp import Mlp
from lbench.recipe import Recipe
from lbench.task import Batch
from lbench.training.job import parameters
from lbench.training.optim import Update
from lbench_bp.bp import Bp
from lbench_lfnn.lfnn_v2 import LfnnV2
from tests.plugins.small import CLASSES, NETS, SHAPE, assert_same, batch_of, gradients, make

from . import paper

NET = pytest.mark.parametrize("net", NETS)


def terms(rule: Any, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return the losses of leaders, followers and output by loops over pairs."""
    x = batch.x
    for block in rule.network.blocks:
        x = block(x)
    features = x.flatten(2).mean(2) if x.dim() == 4 else x
    options, logits = rule.config, rule.bank(features)
    count, lead, follow = options.workers, x.new_zeros(()), x.new_zeros(())
    n, size = math.ceil(options.leadership * count), len(batch.target)
    for b, label in enumerate(batch.target.tolist()):
        own = [logits[b, w::count] for w in range(count)]
        losses = [-s.log_softmax(0)[label] for s in own]
        order = sorted(range(count), key=lambda w: losses[w].item())
        copied = own if options.follow == "logits" else [s.softmax(0) for s in own]
        for w in order[:n]:
            lead = lead + losses[w] / (n * size)
        for w in order[n:]:
            gap = (copied[w] - copied[order[0]].detach()).square().mean()
            follow = follow + gap / ((count - n) * size)
    return lead, follow, F.cross_entropy(rule.network.readout(x), batch.target)


@NET
@pytest.mark.parametrize("options", [{}, {"follow": "probabilities", "lam": 3.0}], ids=str)
def test_gradient_is_backpropagation_of_the_three_terms(net: str, options: dict[str, Any]) -> None:
    rule, batch = make(LfnnV2, NETS[net], workers=5, leadership=0.5, **options), batch_of()
    actual = gradients(rule, batch)
    lead, follow, output = terms(rule, batch)
    loss = lead + rule.config.lam * follow + output
    names, params = zip(*rule.named_parameters(), strict=True)
    expected = torch.autograd.grad(loss, params)
    assert follow > 0
    assert_same(actual, dict(zip(names, expected, strict=True)))


def test_the_bank_is_an_auxiliary_loss_on_bp() -> None:
    """The rule adds the bank's gradient at the network to that of bp."""
    rule, bp, batch = make(LfnnV2, NETS["mlp"]), make(Bp, NETS["mlp"]), batch_of()
    with torch.no_grad():
        rule.bank.weight.zero_()  # the bank sends no gradient back
    actual = {name: g for name, g in gradients(rule, batch).items() if not name.startswith("bank")}
    assert_same(actual, gradients(bp, batch))


def test_leaders_of_each_example_have_the_lowest_losses_and_n_is_rounded_up() -> None:
    """With 0.7 of 32 workers there are 23 leaders."""
    rule, batch = make(LfnnV2, NETS["mlp"]), batch_of(9)
    s = paper.step()
    paper.gradients(rule, batch, s)
    x = rule.network.blocks[2](rule.network.blocks[1](rule.network.blocks[0](batch.x)))
    logits = rule.bank(x)
    shares = torch.zeros(32, dtype=torch.float64)
    for b, label in enumerate(batch.target.tolist()):
        losses = [F.cross_entropy(logits[b, w::32], batch.target[b]).item() for w in range(32)]
        shares[paper.lowest(losses, 23)] += 1 / 9
        assert label == batch.target[b]
    torch.testing.assert_close(s.logs["leaders/2"], shares)
    assert rule.workers.leaders == 23


def test_leaders_get_no_gradient_from_followers() -> None:
    """The gradient of the bank's leaders does not depend on lam."""
    batch, actual = batch_of(), []
    for lam in (0.0, 100.0):
        rule = make(LfnnV2, NETS["mlp"], selection="batch", workers=4, leadership=0.5, lam=lam)
        s = paper.step()
        rows = paper.gradients(rule, batch, s)["bank.weight"].view(CLASSES, 4, -1)
        actual.append((rows, s.logs["leaders/2"] > 0))
    (none, leads), (many, _) = actual
    assert leads.sum() == 2
    assert torch.equal(none[:, leads], many[:, leads])
    assert not none[:, ~leads].any()
    assert many[:, ~leads].any()


def test_claims_are_those_of_backpropagation() -> None:
    network = NETS["mlp"].build(Init(0), SHAPE, CLASSES)
    claims = LfnnV2.claims(LfnnV2.Config(), network)
    assert (claims.transport, claims.backward_depth, claims.bp_free) == ("full", "full", False)
    assert (claims.update_locked, claims.global_error) == (True, "vector")
    assert claims.couples == "none"


def test_the_bank_is_counted_as_auxiliary() -> None:
    rule = make(LfnnV2, Mlp(widths=(9, 8))).float()
    counted = parameters(rule, SHAPE)
    assert counted["aux"] == 32 * CLASSES * 9
    assert counted["fix"] == 0


def test_sixty_four_digits_are_learned_without_error() -> None:
    split = Digits().load().train
    x = torch.from_numpy(split.images[:64] / 255.0)
    batch = Batch(x, torch.from_numpy(split.labels[:64]))
    rule = paper.make(LfnnV2, Mlp(widths=(100, 100)), (1, 8, 8), classes=10)
    recipe = Recipe(optimizer="adam", lr=1e-3)
    rule.attach({group.name: Update(group, recipe) for group in rule.groups()})
    for index in range(400):
        rule.step(batch, paper.step(index))
        if index % 20 == 19 and (rule.predict(batch.x).argmax(1) == batch.target).all():
            return
    pytest.fail("still wrong on some after 400 steps")
