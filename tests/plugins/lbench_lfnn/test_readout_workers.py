"""lfnn_l_rr and lfnn_l_head: workers of many units with a readout, and their special cases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.init import Init
from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.rule import View
from lbench.step import Step
from lbench.training.job import parameters
from lbench_greedy.lg_bp import LgBp
from lbench_lfnn.lfnn_l import LfnnL
from lbench_lfnn.lfnn_l_head import LfnnLHead
from lbench_lfnn.lfnn_l_rr import LfnnLRr
from lbench_local_loss.rand_local import RandLocal
from tests.plugins.small import CLASSES, NETS, SHAPE, assert_same, batch_of, gradients, make

from . import paper

NET = pytest.mark.parametrize("net", ["mlp", "cnn without norm", "resnet", "mixer"])
READ: tuple[dict[str, Any], ...] = ({"scale": 4.0}, {"norm": "layer", "scale": 8.0, "pool": 2})
READING = pytest.mark.parametrize("reading", READ, ids=["plain", "layer"])
HEADS = pytest.mark.parametrize("rule_class", [LfnnLRr, LfnnLHead])
SELECTION = pytest.mark.parametrize("by", ["batch", "example", "random"])


def of_layers(grads: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: g for name, g in grads.items() if name.startswith("network.blocks.")}


def scores_of(rule: Any, k: int, h: Tensor) -> list[Tensor]:
    """Return class logits (batch, classes) of each worker, from its own units and columns of A."""
    readouts, options = rule.readouts[k], rule.config
    units, count = h.shape[1], options.workers
    sizes = [units // count + (w < units % count) for w in range(count)]
    if h.dim() == 4:
        h = F.adaptive_avg_pool2d(h, tuple(min(options.pool, side) for side in h.shape[2:]))
    per, scores, first = h[0, 0].numel(), [], 0
    for w, size in enumerate(sizes):
        f = h[:, first : first + size].flatten(1)
        if options.norm == "layer":
            f = F.layer_norm(f, f.shape[1:], eps=1e-5)
        s = f @ readouts.weight[:, first * per : (first + size) * per].T
        scores.append(options.scale * (s if readouts.bias is None else s + readouts.bias[:, w]))
        first += size
    return scores


def total(rule: Any, k: int, h: Tensor, target: Tensor) -> Tensor:
    """Return the paper's two losses of block ``k``, summed over pairs of example and worker."""
    logits = scores_of(rule, k, h)
    leaders = paper.choose(rule, logits, target)
    count, n, size = len(logits), len(leaders[0]), len(target)
    losses, loss = paper.worker_losses(logits, target), h.new_zeros(())
    for b, led in enumerate(leaders):
        best = logits[led[0]][b].softmax(0).detach()
        for w in range(count):
            if w in led:
                loss = loss + losses[b, w] / (n * size)
            else:
                gap = logits[w][b].softmax(0) - best
                loss = loss + rule.config.lam * gap.square().mean() / ((count - n) * size)
    return loss


@NET
@READING
@HEADS
@pytest.mark.parametrize("by", ["batch", "example"])
def test_gradient_is_that_of_the_papers_losses_on_readouts(
    net: str, reading: dict[str, Any], rule_class: type[LfnnLRr], by: str
) -> None:
    """Blocks have 3 to 12 units or channels, which three workers share, some of them unevenly."""
    options = {"workers": 3, "leadership": 0.4, "lam": 2.5, "selection": by, **reading}
    rule, batch = make(rule_class, NETS[net], **options), batch_of()
    actual, x = gradients(rule, batch), batch.x
    for k, block in enumerate(rule.network.blocks):
        h = block.activate(block.preactivation(x))
        own = {
            name: p
            for name, p in rule.named_parameters()
            if name.startswith((f"network.blocks.{k}.", f"readouts.{k}.")) and p.requires_grad
        }
        expected = torch.autograd.grad(total(rule, k, h, batch.target), list(own.values()))
        assert_same({name: actual[name] for name in own}, dict(zip(own, expected, strict=True)))
        x = block.emit(h).detach()


@NET
@READING
@pytest.mark.parametrize("options", [{}, {"selection": "example", "lam": 9.0}], ids=str)
def test_one_worker_is_rand_local_exactly(
    net: str, reading: dict[str, Any], options: dict[str, Any]
) -> None:
    rule = make(LfnnLRr, NETS[net], workers=1, dropout=0.3, **options, **reading)
    other = make(RandLocal, NETS[net], dropout=0.3, **reading)
    assert_same(gradients(rule, batch_of()), gradients(other, batch_of()))


@pytest.mark.parametrize("workers", [1, 2, 5, 10])
@pytest.mark.parametrize("width", [260, 390, 330, 16, 64, 250])
def test_workers_share_any_width_and_the_first_ones_have_the_remainder(
    width: int, workers: int
) -> None:
    rule = make(LfnnLRr, Mlp(widths=(width,)), workers=workers)
    sizes = rule.readouts[0].member.sum(1).tolist()
    assert sum(sizes) == width
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) - min(sizes) <= 1


def test_a_workers_gradient_depends_only_on_its_own_units_and_its_reference() -> None:
    """The gradient of a leader does not depend on the units of other workers."""
    rule, batch = make(LfnnLRr, Mlp(widths=(12,)), workers=3, leadership=1.0), batch_of()
    name = "network.blocks.0.layer.affine.weight"
    before = gradients(rule, batch)[name]
    with torch.no_grad():
        rule.network.blocks[0].layer.affine.weight[4:8] *= -7
    after = gradients(rule, batch)[name]
    for rows, same in ((slice(0, 4), True), (slice(4, 8), False), (slice(8, 12), True)):
        assert torch.allclose(before[rows], after[rows], rtol=1e-12, atol=0) == same


# Losses of leaders and followers


@HEADS
def test_without_followers_there_is_no_follower_loss(rule_class: type[LfnnLRr]) -> None:
    actual = [
        gradients(make(rule_class, NETS["mlp"], workers=3, leadership=1.0, lam=lam), batch_of())
        for lam in (0.0, 100.0)
    ]
    assert all(torch.equal(actual[0][name], grad) for name, grad in actual[1].items())


@HEADS
@SELECTION
def test_lam_does_not_change_leaders_since_the_reference_is_constant(
    rule_class: type[LfnnLRr], by: str
) -> None:
    """With one leader per example, columns of a head whose worker never leads scale with lam."""
    actual, batch = [], batch_of()
    for lam in (0.0, 1.0, 100.0):
        rule = make(rule_class, NETS["mlp"], workers=3, leadership=0.3, selection=by, lam=lam)
        s = paper.step()
        paper.gradients(rule, batch, s)
        logits_grad = logits_grads(rule, batch)
        actual.append((logits_grad, s.logs["leaders/0"]))
    (none, led), (one, same), (many, _) = actual
    assert torch.equal(led, same)
    following = none.abs().sum(1) == 0  # (batch, workers): only the cross-entropy is left
    assert following.double().mean(0).allclose(1 - led)
    leading = (~following)[:, None].expand_as(none)
    assert torch.equal(one[leading], none[leading])
    assert torch.equal(many[leading], none[leading])
    torch.testing.assert_close(many[~leading], 100 * one[~leading])


def logits_grads(rule: Any, batch: Any) -> Tensor:
    """Return autograd's gradient at the first block's logits, (batch, classes, workers)."""
    block = rule.network.blocks[0]
    h = block.activate(block.preactivation(batch.x))
    logits = rule.readouts[0](h).detach().requires_grad_()
    choice = rule.selection(0).choose(logits.detach().softmax(1), batch.target, paper.step())
    loss = rule.workers[0].loss(logits, batch.target, choice, rule.weights)
    (logits_grad,) = torch.autograd.grad(loss, logits)
    return logits_grad


def test_followers_identical_to_the_leader_have_a_gradient_of_0() -> None:
    rule, batch = make(LfnnLRr, Mlp(widths=(12,)), workers=3, leadership=0.3), batch_of()
    affine = rule.network.blocks[0].layer.affine
    with torch.no_grad():
        for p in (affine.weight, affine.bias, rule.readouts[0].weight.T):
            p[4:8] = p[8:12] = p[:4]
    grad = gradients(rule, batch)["network.blocks.0.layer.affine.weight"]
    assert grad[:4].abs().max() > 1e-3  # the first of equal workers leads
    assert grad[4:].abs().max() < 1e-16


# A block, or a chain of blocks, that is one leading worker is lg_bp with the same head


@pytest.mark.parametrize("net", ["mlp", "cnn", "resnet", "mixer"])
@pytest.mark.parametrize("blocks", [None, 1, 2])
@pytest.mark.parametrize("rule_class", [LfnnLRr, LfnnLHead])
def test_one_worker_that_leads_is_lg_bp_with_the_same_head(
    net: str, blocks: int | None, rule_class: type[LfnnLRr]
) -> None:
    one = {"workers": 1, "leadership": 1.0, "scale": 1.0, "pool": 2}
    rule = make(rule_class, NETS[net], blocks=blocks, **one)
    lg_bp = make(LgBp, NETS[net], blocks=blocks, pool=2)
    with torch.no_grad():
        for readouts, head in zip(rule.readouts, lg_bp.heads, strict=True):
            head[-1].weight.copy_(readouts.weight)
            if readouts.bias is None:
                head[-1].bias.zero_()
            else:
                readouts.bias.copy_(head[-1].bias[:, None])
    actual, expected = gradients(rule, batch_of()), gradients(lg_bp, batch_of())
    assert_same(of_layers(actual), of_layers(expected))
    last = len(lg_bp.heads[0]) - 1
    for name, grad in actual.items():
        if name.startswith("readouts."):
            k, what = name.split(".")[1:]
            of_head = expected[f"heads.{k}.{last}.{what}"].flatten()
            assert_same({name: grad.flatten()}, {name: of_head})


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("net", ["mlp", "cnn"])
def test_one_worker_of_means_that_leads_is_lg_bp_with_means_as_head(net: str, blocks: int) -> None:
    """lfnn_l with the largest number of units per class has a fixed matrix as its head."""
    spec = Mlp(widths=(15,) * 3) if net == "mlp" else Cnn(widths=(15,) * 3, norm="group")
    options = {"units": 3, "forward": "relu", "leadership": 1.0}
    rule, lg_bp = make(LfnnL, spec, blocks=blocks, **options), make(LgBp, spec, blocks=blocks)
    assert [workers.count for workers in rule.workers] == [1] * blocks
    with torch.no_grad():
        for head in lg_bp.heads:
            head[-1].weight.copy_(
                torch.eye(CLASSES, dtype=torch.float64).repeat_interleave(3, 1) / 3
            )
            head[-1].bias.zero_()
    assert_same(of_layers(gradients(rule, batch_of())), of_layers(gradients(lg_bp, batch_of())))


# Isolation


@NET
@HEADS
def test_nan_in_later_blocks_reaches_no_earlier_block(net: str, rule_class: type[LfnnLRr]) -> None:
    rule, batch = make(rule_class, NETS[net], workers=3), batch_of()
    clean, last = gradients(rule, batch), len(rule.network.blocks) - 1
    with torch.no_grad():
        for part in (rule.network.blocks[last], rule.readouts[last], rule.network.readout):
            for p in part.parameters():
                p.fill_(math.nan)
    broken = gradients(rule, batch)
    for name, grad in clean.items():
        later = name.startswith((f"network.blocks.{last}.", f"readouts.{last}.", "network.readout"))
        assert later or torch.equal(broken[name], grad), name


@HEADS
@pytest.mark.parametrize("k", [0, 1, 2])
def test_scaling_a_blocks_loss_changes_no_other_block(rule_class: type[LfnnLRr], k: int) -> None:
    rule, batch = make(rule_class, NETS["cnn"], workers=3), batch_of()
    quiet = gradients(rule, batch)
    inner = rule.workers[k]
    for name in ("logits_grad", "loss"):
        plain = getattr(inner, name)
        setattr(inner, name, lambda *a, plain=plain: 1e6 * plain(*a))
    for name, grad in gradients(rule, batch).items():
        if name.startswith((f"network.blocks.{k}.", f"readouts.{k}.")):
            torch.testing.assert_close(grad, 1e6 * quiet[name])
        else:
            assert torch.equal(grad, quiet[name]), name


# Counts of parameters, and claims


def test_random_readouts_are_fixed_and_heads_auxiliary() -> None:
    net = Mlp(widths=(12, 9))
    rr, head = (make(rule, net, workers=3).float() for rule in (LfnnLRr, LfnnLHead))
    counted, heads = parameters(rr, SHAPE), parameters(head, SHAPE)
    assert (counted["aux"], counted["fix"]) == (0, CLASSES * 21)
    assert (heads["aux"], heads["fix"]) == (CLASSES * 21 + 2 * CLASSES * 3, 0)
    assert counted["inf"] == heads["inf"]


@pytest.mark.parametrize(("net", "layers"), [("mlp", 1), ("resnet", 2), ("mixer", 3)])
def test_claims_of_readouts(net: str, layers: int) -> None:
    network = NETS[net].build(Init(0), SHAPE, CLASSES)
    fixed = LfnnLRr.claims(LfnnLRr.Config(), network)
    trained = LfnnLHead.claims(LfnnLHead.Config(), network)
    assert fixed.backward_depth == layers - 1
    assert fixed.transport == ("full" if layers > 1 else "none")
    assert (trained.transport, trained.backward_depth) == ("full", layers)
    for claims in (fixed, trained):
        assert (claims.update_locked, claims.global_error) == (False, "none")
        assert claims.couples == "mean"


def test_cotangent_is_the_slope_of_the_loss() -> None:
    rule, batch = make(LfnnLRr, NETS["cnn"], workers=2, leadership=0.5, norm="layer"), batch_of()
    block = rule.network.blocks[0]
    z, s = block.preactivation(batch.x).detach(), Step(paper.Randomness(0))
    direction = torch.from_numpy(np.random.default_rng(0).standard_normal(z.shape))

    def view(shift: float) -> View:
        at = z + shift * direction
        return View(0, batch.x, batch.x, at, block.activate(at), batch.target)

    # The reference is constant in the gradient, but not in the slope, so only leaders are compared.
    rule.weights = (1.0, 0.0)
    slope = (rule.loss(view(1e-6), s) - rule.loss(view(-1e-6), s)).item() / 2e-6
    assert (rule.cotangent(view(0), s) * direction).sum().item() == pytest.approx(slope, rel=1e-5)
