"""lfnn compared with autograd of L = L_g + lambda1 L_lead + lambda2 L_fol."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.rule import Rule
from lbench.task import Task
from lbench_bp.bp import Bp
from lbench_lfnn.lfnn import Lfnn
from lbench_lfnn.lfnn_l import LfnnL

from . import paper

NETS: dict[str, tuple[Any, tuple[int, int, int]]] = {
    "mlp": (Mlp(widths=(12, 9, 12)), (1, 2, 3)),
    "cnn": (Cnn(widths=(12, 9, 12), norm="group"), (2, 4, 4)),
    "cnn-batch-norm": (Cnn(widths=(12, 9, 12), norm="batch"), (2, 4, 4)),
}
NET = pytest.mark.parametrize("net", NETS)
BY = pytest.mark.parametrize("by", ["batch", "example"])
THROUGH = pytest.mark.parametrize("through", [False, True])


class Loud(Task):
    """A rule that multiplies the output loss by a million."""

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        return 1e6 * super().loss(logits, target)


def follower_rows(rule: Lfnn, batch: paper.Batch) -> list[Tensor]:
    """Return for each block the units whose worker leads on no example."""
    masks, x = [], batch.x
    for block in rule.network.blocks:
        z = block.preactivation(x)
        leaders = paper.choose(rule, paper.worker_scores(rule, block, z), batch.target)
        masks.append(~paper.unit_mask(rule, block, leaders).any(0))
        x = block.emit(paper.activation(rule, block, z)).detach()
    return masks


@NET
@BY
@THROUGH
def test_gradient_is_that_of_the_papers_loss(net: str, by: str, through: bool) -> None:
    for seed in range(3):
        rule = paper.make(
            Lfnn, *NETS[net], seed=seed, selection=by, leadership=0.5,
            lambda1=0.7, lambda2=3.0, through_followers=through,
        )  # fmt: skip
        batch = paper.batch_for(rule, seed=seed)
        expected = paper.autograd(rule, paper.lfnn_loss(rule, batch, through=through))
        paper.assert_same(paper.gradients(rule, batch), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"forward": "relu"},
        {"forward": "relu_softmax"},
        {"forward": "relu", "units": 3},
        {"follow": "logits"},
        {"reference": "mean"},
        {"leader_loss": "sum"},
        {"rounding": "floor", "leadership": 0.6},
        {"lambda1": 0.0, "lambda2": 0.0},
    ],
    ids=str,
)
def test_gradient_is_that_of_the_papers_loss_under_options(options: dict[str, Any]) -> None:
    rule = paper.make(Lfnn, Mlp(widths=(36, 36)), (1, 2, 3), **options)
    batch = paper.batch_for(rule)
    paper.assert_same(
        paper.gradients(rule, batch), paper.autograd(rule, paper.lfnn_loss(rule, batch))
    )


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (Mlp(widths=(12, 9, 12)), (1, 2, 3)),
        (Cnn(widths=(12, 9), norm="none"), (2, 4, 4)),
        (Cnn(widths=(12, 9), norm="batch"), (2, 4, 4)),
    ],
    ids=["mlp", "cnn", "cnn-batch-norm"],
)
@THROUGH
def test_followers_get_no_global_gradient(
    net: Any, shape: tuple[int, int, int], through: bool
) -> None:
    """Group norm is not tested, since it mixes the channels of leaders and followers before z."""
    rules = [
        paper.make(Lfnn, net, shape, task=task, leadership=0.5, through_followers=through)
        for task in (Task, Loud)
    ]
    batch = paper.batch_for(rules[0])
    quiet, loud = (paper.gradients(rule, batch) for rule in rules)
    for k, rows in enumerate(follower_rows(rules[0], batch)):
        names = [name for name in quiet if name.startswith(f"network.blocks.{k}.")]
        assert rows.any()
        assert len(names) > 1
        for name in names:
            assert torch.equal(quiet[name][rows], loud[name][rows]), name
            assert quiet[name][rows].any(), name
            assert not torch.allclose(quiet[name][~rows], loud[name][~rows]), name


@NET
@BY
def test_passing_through_followers_changes_only_blocks_below(net: str, by: str) -> None:
    actual = []
    for through in (False, True):
        rule = paper.make(Lfnn, *NETS[net], selection=by, leadership=0.5, through_followers=through)
        actual.append(paper.gradients(rule, paper.batch_for(rule)))
    blocked, passed = actual
    for name, grad in blocked.items():
        below = name.startswith(("network.blocks.0.", "network.blocks.1."))
        assert torch.equal(passed[name], grad) != below, name


@NET
@pytest.mark.parametrize("lambda1", [0.0, 1.0, 2.5])
def test_lfnn_without_followers_is_bp_plus_each_workers_own_loss(net: str, lambda1: float) -> None:
    rule = paper.make(Lfnn, *NETS[net], leadership=1.0, lambda1=lambda1, lambda2=9.0)
    batch = paper.batch_for(rule)
    x, loss = batch.x, torch.zeros((), dtype=torch.float64)
    for block in rule.network.blocks:
        logits = paper.worker_scores(rule, block, block.preactivation(x.detach()))
        loss = loss + lambda1 * paper.worker_losses(logits, batch.target).mean()
        x = block.emit(paper.activation(rule, block, block.preactivation(x)))
    loss = loss + F.cross_entropy(rule.network.readout(x), batch.target)
    paper.assert_same(paper.gradients(rule, batch), paper.autograd(rule, loss))


@NET
def test_lfnn_without_followers_and_local_losses_is_bp(net: str) -> None:
    lfnn = paper.make(Lfnn, *NETS[net], leadership=1.0, lambda1=0.0, lambda2=0.0, forward="relu")
    bp = paper.make(Bp, *NETS[net])
    batch = paper.batch_for(lfnn)
    paper.assert_same(paper.gradients(lfnn, batch), paper.gradients(bp, batch))


@NET
@BY
@pytest.mark.parametrize(("blocks", "through"), [(3, False), (3, True), (1, False)])
def test_gradient_is_that_of_the_papers_loss_under_dropout(
    net: str, by: str, blocks: int, through: bool
) -> None:
    rule = paper.make(
        Lfnn, *NETS[net], blocks=blocks, selection=by, leadership=0.5, dropout=0.3,
        through_followers=through,
    )  # fmt: skip
    batch, s = paper.batch_for(rule), paper.step(5)
    expected = paper.autograd(rule, paper.lfnn_loss(rule, batch, through=through, s=s))
    paper.assert_same(paper.gradients(rule, batch, s), expected)


@pytest.mark.parametrize("blocks", [1, 2])
@NET
def test_a_block_of_several_layers_has_autograds_gradient_of_its_losses(
    net: str, blocks: int
) -> None:
    rule = paper.make(Lfnn, *NETS[net], blocks=blocks, leadership=0.5)
    batch = paper.batch_for(rule)
    paper.assert_same(
        paper.gradients(rule, batch), paper.autograd(rule, paper.lfnn_loss(rule, batch))
    )


@pytest.mark.parametrize("blocks", [1, 2, 3])
@NET
def test_blocks_of_lfnn_l_have_autograds_gradient_of_their_losses(net: str, blocks: int) -> None:
    rule = paper.make(LfnnL, *NETS[net], blocks=blocks, leadership=0.5, lam=2.0, dropout=0.3)
    batch, s = paper.batch_for(rule), paper.step(5)
    x, loss = batch.x, torch.zeros((), dtype=torch.float64)
    for block in rule.network.blocks:
        z = block.preactivation(x, s)
        leaders = paper.choose(rule, paper.worker_scores(rule, block, z), batch.target)
        lead, follow = paper.local_losses(rule, block, z, batch.target, leaders)
        loss = loss + lead + 2.0 * follow
        x = block.emit(paper.activation(rule, block, z), s).detach()
    loss = loss + F.cross_entropy(rule.network.readout(x), batch.target)
    actual = paper.gradients(rule, batch, s)
    paper.assert_same(actual, paper.autograd(rule, loss))
    if blocks == 1:
        assert actual["network.blocks.0.parts.0.layer.affine.weight"].any()


@pytest.mark.parametrize("rule_class", [Lfnn, LfnnL])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("forward", ["softmax", "relu_softmax", "relu"])
@NET
def test_predict_is_the_forward_pass_without_dropout(
    rule_class: type[Rule], dropout: float, forward: str, net: str
) -> None:
    rule = paper.make(rule_class, *NETS[net], dropout=dropout, forward=forward)
    batch = paper.batch_for(rule)
    x = batch.x
    for block in rule.network.blocks:
        x = block.emit(paper.activation(rule, block, block.preactivation(x)))
    expected = rule.network.readout(x)
    seen: list[Tensor] = []
    predicted = rule.predict(batch.x)
    torch.testing.assert_close(predicted, expected, rtol=1e-12, atol=1e-14)
    rule.network.readout.register_forward_hook(lambda module, args, out: seen.append(out))
    paper.gradients(rule, batch)
    assert torch.equal(seen[-1], predicted) == (dropout == 0)


@pytest.mark.parametrize("rule_class", [Bp, Lfnn, LfnnL])
def test_a_step_updates_running_statistics_once(rule_class: type[Rule]) -> None:
    rule = paper.make(rule_class, *NETS["cnn-batch-norm"])
    paper.gradients(rule, paper.batch_for(rule))
    counts = [b for name, b in rule.named_buffers() if name.endswith("num_batches_tracked")]
    assert counts == [1, 1, 1]


@pytest.mark.parametrize("rule_class", [Lfnn, LfnnL])
def test_predictions_do_not_depend_on_labels_seen(rule_class: type[Rule]) -> None:
    rule = paper.make(rule_class, *NETS["mlp"])
    batch = paper.batch_for(rule)
    actual = []
    for shift in (0, 1):
        paper.gradients(rule, paper.Batch(batch.x, (batch.target + shift) % 3))
        actual.append(rule.predict(batch.x))
    assert torch.equal(*actual)


@pytest.mark.parametrize("rule_class", [Bp, LfnnL])
@NET
def test_every_weight_depends_on_the_seed(rule_class: type[Rule], net: str) -> None:
    one, same, other = (
        dict(paper.make(rule_class, *NETS[net], seed=seed).named_parameters()) for seed in (3, 3, 4)
    )
    for name, p in one.items():
        assert torch.equal(p, same[name])
        assert torch.equal(p, other[name]) == (".norm." in name)


@NET
def test_rules_have_the_same_weights_for_a_seed(net: str) -> None:
    bp, *others = (
        dict(paper.make(rule, *NETS[net], seed=3).named_parameters()) for rule in (Bp, LfnnL, Lfnn)
    )
    for other in others:
        assert set(bp) == set(other)
        assert all(torch.equal(bp[name], other[name]) for name in bp)


@pytest.mark.parametrize("by", ["batch", "example", "epoch"])
@pytest.mark.parametrize("follow", ["probabilities", "logits"])
@pytest.mark.parametrize("reference", ["best", "random", "mean"])
@pytest.mark.parametrize("rule_class", [Lfnn, LfnnL])
def test_a_step_in_bfloat16_is_finite(
    rule_class: type[Rule], by: str, follow: str, reference: str
) -> None:
    cases: list[tuple[Any, tuple[int, int, int], dict[str, Any]]] = [
        (*NETS["mlp"], {"forward": "softmax"}),
        (*NETS["mlp"], {"forward": "relu_softmax"}),
        (*NETS["mlp"], {"forward": "relu"}),
        (Mlp(widths=(18, 36)), (1, 2, 3), {"forward": "relu", "units": 3}),
        (*NETS["cnn"], {}),
        (Cnn(widths=(12, 9), norm="batch"), (2, 4, 4), {"units": 1}),
    ]
    for net, shape, options in cases:
        rule = paper.make(
            rule_class, net, shape, selection=by, follow=follow, reference=reference,
            leadership=0.5, **options,
        ).float()  # fmt: skip
        batch = paper.batch_for(rule, 16)
        batch.x = batch.x.float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for index in range(2):
                s = paper.step(index, epoch=index, last=True)
                grads = paper.gradients(rule, batch, s)
                rule.after_step(s)
                for name, grad in grads.items():
                    assert grad.dtype == torch.float32
                    assert grad.isfinite().all(), name
        assert set(grads) == {name for name, _ in rule.named_parameters()}


@pytest.mark.parametrize("rule_class", [Lfnn, LfnnL])
@NET
def test_a_step_in_bfloat16_is_near_float32(rule_class: type[Rule], net: str) -> None:
    """All workers lead, so that rounding cannot change the ranks of workers."""
    rule = paper.make(rule_class, *NETS[net], leadership=1.0).float()
    batch = paper.batch_for(rule, 64)
    batch.x = batch.x.float()
    exact = paper.gradients(rule, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = paper.gradients(rule, batch)
    for name, grad in exact.items():
        assert (rough[name] - grad).norm() < 0.2 * grad.norm() + 1e-3, name
