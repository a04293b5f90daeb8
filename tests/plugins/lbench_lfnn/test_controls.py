"""The controls: no followers, random leaders, leaders fixed after the first epoch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.rule import Rule
from lbench.step import Step
from lbench_lfnn.lfnn import Lfnn
from lbench_lfnn.lfnn_l import LfnnL
from lbench_lfnn.lfnn_l_head import LfnnLHead
from lbench_lfnn.lfnn_l_rr import LfnnLRr
from lbench_lfnn.lfnn_v2 import LfnnV2

from . import paper

NET, SHAPE = Mlp(widths=(12, 12)), (1, 2, 3)
WORKERS = 4
"""Of each block: three units each."""
RULES: dict[type[Rule], dict[str, Any]] = {
    Lfnn: {},
    LfnnL: {},
    LfnnLRr: {"workers": WORKERS},
    LfnnLHead: {"workers": WORKERS},
}
RULE = pytest.mark.parametrize("rule_class", RULES)
ALL = pytest.mark.parametrize("rule_class", [*RULES, LfnnV2])


def make(rule_class: type[Rule], **options: Any) -> Any:
    own = RULES.get(rule_class, {"workers": WORKERS})
    return paper.make(rule_class, NET, SHAPE, **{"leadership": 0.5} | own | options)


def leader_indices(s: Step, k: int = 1) -> list[int]:
    return s.logs[f"leaders/{k}"].nonzero().flatten().tolist()


def of_worker(rule: Rule, grad: Tensor, w: int) -> Tensor:
    """Return the rows of a block's weight gradient that belong to worker w."""
    units = slice(w, None, WORKERS) if isinstance(rule, LfnnL | Lfnn) else slice(3 * w, 3 * w + 3)
    return grad[units]


@RULE
def test_without_a_follower_loss_followers_do_not_change(rule_class: type[Rule]) -> None:
    off = {"lambda2": 0.0} if rule_class is Lfnn else {"lam": 0.0}
    batch = paper.batch_for(make(rule_class))
    for options, moves in (({}, True), (off, False)):
        rule, s = make(rule_class, **options), paper.step()
        actual = paper.gradients(rule, batch, s)
        for k in range(2):
            grad = actual[f"network.blocks.{k}.layer.affine.weight"]
            leaders = leader_indices(s, k)
            assert len(leaders) == 2
            for w in range(WORKERS):
                assert of_worker(rule, grad, w).any() == (moves or w in leaders)


def test_without_a_follower_loss_heads_of_followers_do_not_change() -> None:
    rule, s = make(LfnnLHead, lam=0.0), paper.step()
    actual = paper.gradients(rule, paper.batch_for(rule), s)
    for k in range(2):
        columns = actual[f"readouts.{k}.weight"].split(3, dim=1)
        assert [w for w in range(WORKERS) if columns[w].any()] == leader_indices(s, k)
        assert actual[f"readouts.{k}.bias"].any(0).nonzero().flatten().tolist() == leader_indices(
            s, k
        )


@ALL
def test_random_leaders_are_n_per_step_and_each_worker_equally_often(
    rule_class: type[Rule],
) -> None:
    rule = make(rule_class, selection="random")
    batch, counts, chosen = paper.batch_for(rule), torch.zeros(WORKERS), set()
    for index in range(100):
        s = paper.step(index)
        paper.gradients(rule, batch, s)
        assert len(leader_indices(s)) == 2
        counts[leader_indices(s)] += 1
        chosen.add(tuple(leader_indices(s)))
    assert len(chosen) == 6  # all pairs of four workers
    # In 100 steps of 2 of 4 leaders the mean is 50, and three standard deviations are 15.
    assert (counts - 50).abs().max() <= 15


@ALL
def test_random_leaders_depend_on_seed_and_step_not_on_losses(rule_class: type[Rule]) -> None:
    rule = make(rule_class, selection="random")

    def chosen(seed: int, indices: range, batch_seed: int) -> list[list[int]]:
        actual = []
        for index in indices:
            s = Step(Randomness(seed), index)
            paper.gradients(rule, paper.batch_for(rule, seed=batch_seed), s)
            actual.append(leader_indices(s))
        return actual

    steps = range(12)
    assert chosen(0, steps, batch_seed=1) == chosen(0, steps, batch_seed=2)
    assert chosen(0, steps, batch_seed=1) != chosen(1, steps, batch_seed=1)


def test_followers_copy_the_best_of_randomly_drawn_leaders() -> None:
    rule = make(LfnnL, selection="random")
    batch, block, not_best = paper.batch_for(rule), rule.network.blocks[0], 0
    z = block.preactivation(batch.x)
    losses = paper.worker_losses(paper.worker_scores(rule, block, z), batch.target).mean(0)
    y = torch.stack(paper.worker_scores(rule, block, z), 2).softmax(1)
    for index in range(10):
        s = paper.step(index)
        choice = rule.selection(0).choose(y, batch.target, s)
        best = min(leader_indices(s, 0), key=lambda w: losses[w].item())
        assert choice.model.tolist() == [best]
        not_best += best != losses.argmin()
    assert not_best > 0


@ALL
def test_first_epoch_selection_does_not_change_later(rule_class: type[Rule]) -> None:
    """Leaders are chosen by the summed losses of the first epoch, and in it by each batch."""
    rule = make(rule_class, selection="first_epoch")
    plain = make(rule_class, selection="batch")
    generator = torch.Generator().manual_seed(0)
    sums, differs, fixed = torch.zeros(WORKERS, dtype=torch.float64), False, None
    for index in range(12):
        epoch, position = divmod(index, 3)
        batch, s, other = (
            paper.batch_for(rule, seed=index),
            paper.step(index, epoch, last=position == 2),
            paper.step(index, epoch),
        )
        plain.load_state_dict(rule.state_dict(), strict=False)
        paper.gradients(rule, batch, s)
        paper.gradients(plain, batch, other)
        if epoch == 0:
            assert leader_indices(s) == leader_indices(other)
            sums += s.logs["worker_loss/1"]
        else:
            fixed = sorted(paper.lowest(sums.tolist(), 2))
            assert leader_indices(s) == fixed
            differs |= leader_indices(other) != fixed
        rule.after_step(s)
        with torch.no_grad():  # other weights, so that other workers lead
            for p in rule.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
    assert fixed is not None
    assert differs


def test_first_epoch_selection_survives_a_checkpoint() -> None:
    first, second = (make(LfnnLRr, selection="first_epoch") for _ in range(2))
    s = paper.step(0, last=True)
    paper.gradients(first, paper.batch_for(first, seed=1), s)
    first.after_step(s)
    second.load_state_dict(first.state_dict())
    batch = paper.batch_for(first, seed=2)
    one, other = (paper.gradients(rule, batch, paper.step(1, 1)) for rule in (first, second))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("options", "couples"),
    [
        ({}, "mean"),
        ({"selection": "first_epoch"}, "mean"),
        ({"selection": "example"}, "none"),
        ({"selection": "random"}, "mean"),
        ({"selection": "random", "reference": "mean"}, "none"),
        ({"selection": "random", "reference": "random"}, "none"),
        ({"leadership": 1.0}, "none"),
        ({"leadership": 0.9, "workers": 5}, "none"),
        ({"leadership": 0.9, "workers": 5, "rounding": "floor"}, "mean"),
        ({"workers": 1}, "none"),
    ],
    ids=str,
)
def test_claims_say_when_workers_are_compared_by_means(
    options: dict[str, Any], couples: str
) -> None:
    rule = make(LfnnLRr, **options)
    assert rule.claims(rule.config, rule.network).couples == couples
