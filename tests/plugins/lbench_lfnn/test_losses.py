"""The closed forms compared with autograd, finite differences and loops over the paper's sums."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.rule import View
from lbench.step import Step
from lbench_lfnn.lfnn_l import LfnnL

from . import paper

KINDS: dict[str, tuple[Any, tuple[int, int, int], dict[str, Any]]] = {
    "softmax": (Mlp(widths=(12,)), (1, 2, 3), {}),
    "relu_softmax": (Mlp(widths=(12,)), (1, 2, 3), {"forward": "relu_softmax"}),
    "relu": (Mlp(widths=(12,)), (1, 2, 3), {"forward": "relu"}),
    "relu-3-units": (Mlp(widths=(36,)), (1, 2, 3), {"forward": "relu", "units": 3}),
    "conv": (Cnn(widths=(12,), norm="none"), (1, 2, 3), {}),
    "conv-3-units": (Cnn(widths=(36,), norm="none"), (1, 2, 3), {"units": 3}),
}
SELECTION, FOLLOW = ("batch", "example", "epoch"), ("probabilities", "logits")
REFERENCE, REDUCTION, LAM = ("best", "random", "mean"), ("mean", "sum"), (0.0, 1.0, 2.5)


def viewed(rule: LfnnL, z: Tensor, batch: Any) -> View:
    h = rule.activate(0, z)
    return View(0, batch.x, batch.x, z, h, batch.target)


def scores_of(rule: LfnnL, batch: Any) -> Tensor:
    """Return random z with a larger variance than that from initial weights."""
    shape = rule.network.blocks[0].preactivation(batch.x).shape
    return torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def after_an_epoch(rule: LfnnL, batch: Any) -> tuple[Step, Tensor]:
    """Return a step of the second epoch, and the summed losses of the first epoch."""
    history = torch.zeros(4, dtype=torch.float64)
    for index in range(2):
        s = paper.step(index, last=index == 1)
        z = scores_of(rule, batch) * (index - 2)
        rule.cotangent(viewed(rule, z, batch), s)
        rule.after_step(s)
        losses = paper.worker_losses(
            paper.worker_scores(rule, rule.network.blocks[0], z), batch.target
        )
        history += losses.mean(0)
    return paper.step(2, epoch=1), history


def copied_leaders(
    rule: LfnnL, z: Tensor, target: Tensor, leaders: list[list[int]], expected: Tensor
) -> list[int]:
    """Return for each example the leader with which the paper's losses give the gradient."""
    picks = [-1] * len(target)
    for w in range(4):
        leaf = z.clone().requires_grad_()
        loss = total(rule, leaf, target=target, leaders=leaders, picks=[w] * len(target))
        (g,) = torch.autograd.grad(loss, leaf)
        same = (g - expected).flatten(1).abs().amax(1) < 1e-13
        for b in range(len(target)):
            if same[b] and w in leaders[b] and picks[b] < 0:
                picks[b] = w
    assert min(picks) >= 0
    return picks


def total(rule: LfnnL, z: Tensor, **given: Any) -> Tensor:
    """Return the loss of the block as in the paper."""
    lead, follow = paper.local_losses(rule, rule.network.blocks[0], z, **given)
    return lead + rule.config.lam * follow


@pytest.mark.parametrize("kind", KINDS)
def test_closed_form_is_the_gradient_of_the_losses(kind: str) -> None:
    net, shape, options = KINDS[kind]
    generator = torch.Generator().manual_seed(1)
    for by, follow, reference, reduction, lam in itertools.product(
        SELECTION, FOLLOW, REFERENCE, REDUCTION, LAM if kind == "softmax" else (2.5,)
    ):
        rule = paper.make(
            LfnnL, net, shape, leadership=0.5, selection=by, follow=follow, lam=lam,
            reference=reference, leader_loss=reduction, **options,
        )  # fmt: skip
        block, batch = rule.network.blocks[0], paper.batch_for(rule, 5)
        s, history = after_an_epoch(rule, batch) if by == "epoch" else (paper.step(), None)
        z = scores_of(rule, batch)
        actual = rule.cotangent(viewed(rule, z, batch), s)

        leaders = paper.choose(rule, paper.worker_scores(rule, block, z), batch.target, history)
        picks = None
        if reference == "random":
            picks = copied_leaders(rule, z, batch.target, leaders, actual)

        formulated = functools.partial(
            total, rule, target=batch.target, leaders=leaders, at=z, picks=picks
        )
        leaf = z.clone().requires_grad_()
        expected_loss = formulated(leaf)
        (expected,) = torch.autograd.grad(expected_loss, leaf)
        loss = rule.loss(viewed(rule, leaf, batch), s)
        (own,) = torch.autograd.grad(loss, leaf)
        case = (kind, by, follow, reference, reduction, lam)
        if reference != "random":  # two leaders may give the same gradient if ReLU is flat
            assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-12), case
        torch.testing.assert_close(own, expected, rtol=1e-11, atol=1e-14, msg=str(case))
        torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-14, msg=str(case))

        if lam == 2.5 and reduction == "mean":
            direction = torch.randn(z.shape, generator=generator, dtype=torch.float64)
            eps = 1e-6
            with torch.no_grad():
                rise = formulated(z + eps * direction) - formulated(z - eps * direction)
            slope = (actual * direction).sum().item()
            assert slope == pytest.approx(rise.item() / (2 * eps), rel=1e-5, abs=1e-8), case


def test_the_default_is_section_2_of_the_paper_as_loops() -> None:
    rule = paper.make(LfnnL, Mlp(widths=(30,)), (1, 2, 3), leadership=0.7)
    batch = paper.batch_for(rule, 6)
    z = rule.network.blocks[0].preactivation(batch.x).detach()
    actual = rule.cotangent(viewed(rule, z, batch), paper.step()).numpy()

    a, t, lam = z.numpy(), batch.target.numpy(), rule.config.lam
    size, classes, count = 6, 3, 10
    y = np.zeros((size, count, classes))
    for b in range(size):
        for w in range(count):
            e = [math.exp(a[b, k * count + w]) for k in range(classes)]
            y[b, w] = [v / sum(e) for v in e]
    score = [sum(-math.log(y[b, w, t[b]]) for b in range(size)) / size for w in range(count)]
    order = sorted(range(count), key=score.__getitem__)
    n = 7
    leaders, best = order[:n], order[0]
    expected = np.zeros_like(a)
    for b in range(size):
        for w in range(count):
            r = [
                2 * lam * (y[b, w, k] - y[b, best, k]) / ((count - n) * size * classes)
                for k in range(classes)
            ]
            inner = sum(r[k] * y[b, w, k] for k in range(classes))
            for k in range(classes):
                if w in leaders:
                    dz = (y[b, w, k] - (k == t[b])) / (n * size)
                else:
                    dz = y[b, w, k] * (r[k] - inner)
                expected[b, k * count + w] = dz
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-15)


def test_weight_gradient_is_the_cotangent_times_the_input() -> None:
    rule = paper.make(LfnnL)
    batch = paper.batch_for(rule)
    z = rule.network.blocks[0].preactivation(batch.x).detach()
    dz = rule.cotangent(viewed(rule, z, batch), paper.step())
    grads = paper.gradients(rule, batch)
    torch.testing.assert_close(
        grads["network.blocks.0.layer.affine.weight"], dz.T @ batch.x.flatten(1)
    )
    torch.testing.assert_close(grads["network.blocks.0.layer.affine.bias"], dz.sum(0))


@pytest.mark.parametrize("kind", KINDS)
def test_without_followers_there_is_no_follower_loss(kind: str) -> None:
    net, shape, options = KINDS[kind]
    batch, actual = None, []
    for lam in (0.0, 100.0):
        rule = paper.make(LfnnL, net, shape, leadership=1.0, lam=lam, **options)
        batch = paper.batch_for(rule)
        z = scores_of(rule, batch)
        view = viewed(rule, z, batch)
        actual.append((rule.loss(view, paper.step()), rule.cotangent(view, paper.step())))
    assert actual[0][0] == actual[1][0]
    assert torch.equal(actual[0][1], actual[1][1])


@pytest.mark.parametrize("follow", FOLLOW)
@pytest.mark.parametrize("reference", REFERENCE)
def test_followers_identical_to_the_leaders_have_a_gradient_of_0(
    follow: str, reference: str
) -> None:
    rule = paper.make(LfnnL, leadership=0.5, lam=100.0, follow=follow, reference=reference)
    batch = paper.batch_for(rule)
    one = torch.randn(7, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = one.expand(-1, -1, 4).reshape(7, 12)
    view = viewed(rule, z, batch)
    actual = rule.cotangent(view, paper.step()).view(7, 3, 4)
    s = paper.step()
    loss = rule.loss(view, s)
    leads = s.logs["leaders/0"] > 0
    assert leads.sum() == 2
    assert actual[..., ~leads].abs().max() < 1e-16
    cross_entropy = torch.nn.functional.cross_entropy(one[..., 0], batch.target)
    assert loss.item() == pytest.approx(cross_entropy.item(), rel=1e-12)


@pytest.mark.parametrize("by", ["batch", "example"])
def test_lam_does_not_change_leaders_since_the_reference_is_constant(by: str) -> None:
    actual = []
    for lam in (0.0, 1.0, 100.0):
        rule = paper.make(LfnnL, leadership=0.5, lam=lam, selection=by)
        batch = paper.batch_for(rule)
        z = scores_of(rule, batch)
        dz = rule.cotangent(viewed(rule, z, batch), paper.step())
        logits = paper.worker_scores(rule, rule.network.blocks[0], z)
        mask = paper.unit_mask(
            rule, rule.network.blocks[0], paper.choose(rule, logits, batch.target)
        )
        actual.append((dz * mask, dz * (1 - mask)))
    leading, following = zip(*actual, strict=True)
    assert torch.equal(leading[0], leading[1])
    assert torch.equal(leading[0], leading[2])
    assert not following[0].any()
    torch.testing.assert_close(following[2], 100 * following[1], rtol=1e-12, atol=0)


def test_one_worker_that_leads_is_softmax_regression() -> None:
    rule = paper.make(LfnnL, Mlp(widths=(3,)), (1, 2, 3), leadership=1.0)
    batch = paper.batch_for(rule)
    layer = rule.network.blocks[0].layer.affine
    x = batch.x.flatten(1)
    logits = x @ layer.weight.detach().T + layer.bias.detach()
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    p[range(7), batch.target] -= 1
    grads = paper.gradients(rule, batch)
    torch.testing.assert_close(grads["network.blocks.0.layer.affine.weight"], p.T @ x / 7)
    torch.testing.assert_close(grads["network.blocks.0.layer.affine.bias"], p.mean(0))


def test_a_random_reference_is_every_leader_equally_often() -> None:
    rule = paper.make(LfnnL, leadership=0.75, reference="random", selection="example")
    block, batch = rule.network.blocks[0], paper.batch_for(rule, 5)
    z = scores_of(rule, batch)
    leaders = paper.choose(rule, paper.worker_scores(rule, block, z), batch.target)
    ranks = np.zeros(3)
    for index in range(60):
        actual = rule.cotangent(viewed(rule, z, batch), paper.step(index))
        picks = copied_leaders(rule, z, batch.target, leaders, actual)
        for b, pick in enumerate(picks):
            ranks[leaders[b].index(pick)] += 1
    # For 300 draws three standard deviations are 24.5.
    assert ranks.sum() == 300
    assert np.abs(ranks - 100).max() < 24.5


def test_huge_scores_give_finite_cotangents_and_losses() -> None:
    for kind, (net, shape, options) in KINDS.items():
        for by in SELECTION:
            rule = paper.make(LfnnL, net, shape, selection=by, leadership=0.5, **options)
            batch = paper.batch_for(rule)
            z = 1e4 * scores_of(rule, batch).float()
            view = viewed(rule, z, batch)
            assert rule.cotangent(view, paper.step()).isfinite().all(), kind
            assert rule.loss(view, paper.step()).isfinite(), kind
