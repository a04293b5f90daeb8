"""lfnn_online: one binary leader-follower network per class, stored as one network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.data.digits import Digits
from lbench.errors import UsageError
from lbench.networks.cnn import Cnn
from lbench.networks.mixer import LocalMixer
from lbench.networks.mlp import Mlp
from lbench.networks.one_vs_all import OneVsAll
from lbench.recipe import Recipe
from lbench.rule import Rule
from lbench.task import Batch
from lbench.training.job import parameters
from lbench.training.optim import Update
from lbench_lfnn.lfnn_online import LfnnOnline
from tests.training.helper import ask, run

from . import paper
from .one_by_one import NAMES, Binary, split

SHAPE, CLASSES, WORKERS = (1, 2, 3), 3, 5
VARIANTS = {"L1": (1.0, 1.0), "L2": (1.0, 0.0), "L3": (0.0, 1.0), "L4": (0.0, 0.0)}
"""lambda1 and lambda2 of Figure 3b."""
VARIANT = pytest.mark.parametrize("variant", VARIANTS)


class Loud(LfnnOnline):
    """A rule that multiplies the output loss by a million."""

    def output_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        return 1e6 * super().output_loss(logits, target)


def make(rule: type[Rule] = LfnnOnline, workers: int = WORKERS, **options: Any) -> Any:
    options = {"leadership": 0.4} | options
    return paper.make(rule, OneVsAll(workers=(workers,)), SHAPE, classes=CLASSES, **options)


def networks(rule: Rule, workers: int = WORKERS) -> list[Binary]:
    named = dict(rule.named_parameters())
    return [Binary(*split(named, k, workers)) for k in range(rule.task.classes)]


def is_it(k: int, batch: Batch) -> np.ndarray[Any, Any]:
    return (batch.target == k).double().numpy()


def leads(rule: Any, batch: Batch) -> Tensor:
    """Return the leaders of one step, (classes, workers)."""
    s = paper.step()
    paper.gradients(rule, batch, s)
    return s.logs["leaders/0"]


# The equations


@VARIANT
@pytest.mark.parametrize("leadership", [0.2, 0.6, 1.0])
def test_gradients_are_the_slopes_of_separate_networks_losses(
    variant: str, leadership: float
) -> None:
    lambda1, lambda2 = VARIANTS[variant]
    rule = make(leadership=leadership, lambda1=lambda1, lambda2=3 * lambda2)
    batch = paper.batch_for(rule, 9)
    actual = paper.gradients(rule, batch)
    n = paper.leader_count(leadership, WORKERS)
    x = batch.x.flatten(1).numpy()
    for k, network in enumerate(networks(rule)):
        slopes = network.differences(x, is_it(k, batch), n, lambda1, 3 * lambda2)
        for part, slope in zip(split(actual, k, WORKERS), slopes, strict=True):
            np.testing.assert_allclose(part, slope, rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("workers", [8, 32])
def test_ten_networks_trained_separately_end_with_the_same_weights(workers: int) -> None:
    """The networks make a hundred steps of Adam on digits in float64."""
    split_ = Digits().load().train
    rule = paper.make(LfnnOnline, OneVsAll(workers=(workers,)), (1, 8, 8), classes=10)
    recipe = Recipe(optimizer="adam", lr=5e-3, schedule="constant")
    (group,) = rule.groups()
    update = Update(group, recipe)
    update.rate(recipe.lr)
    rule.attach({group.name: update})
    apart = networks(rule, workers)
    start = {name: p.detach().clone() for name, p in rule.named_parameters()}
    n = paper.leader_count(0.3, workers)
    for index in range(100):
        rows = np.arange(10 * index, 10 * index + 10) % 1000
        images, labels = split_.images[rows] / 255.0, split_.labels[rows]
        rule.step(Batch(torch.from_numpy(images), torch.from_numpy(labels)), paper.step(index))
        for k, network in enumerate(apart):
            grads = network.closed(images.reshape(10, -1), (labels == k) * 1.0, n, 1.0, 1.0)
            network.adam(grads, recipe.lr)
    now = dict(rule.named_parameters())
    for k, network in enumerate(apart):
        for part, expected in zip(split(now, k, workers), network.params, strict=True):
            np.testing.assert_allclose(part, expected, rtol=0, atol=1e-9)
    assert min((now[name] - start[name]).abs().max() for name in NAMES) > 0.1


@pytest.mark.parametrize(
    "options",
    [
        {"selection": "example"},
        {"selection": "random"},
        {"selection": "random", "reference": "random"},
        {"selection": "example", "reference": "mean", "follow": "logits"},
        {"leader_loss": "sum", "rounding": "ceil"},
        {"reference": "mean"},
        {"follow": "logits"},
    ],
    ids=str,
)
def test_gradients_with_options_are_those_of_autograd(options: dict[str, Any]) -> None:
    """The leaders are those of the rule; other tests check the choice of leaders."""
    rule = make(lambda1=0.7, lambda2=3.0, **options)
    batch, workers = paper.batch_for(rule), rule.workers[0]
    z = rule.network.blocks[0].preactivation(batch.x)
    predictions = workers.predict(z, z.sigmoid())
    choice = rule.selection(0).choose(predictions.y.detach(), batch.target, paper.step())
    mask = workers.mask(choice, z)
    # Followers are constants in L_g.
    h = mask * z.sigmoid() + (1 - mask) * z.sigmoid().detach()
    loss = rule.output_loss(rule.network.readout(h), batch.target)
    loss = loss + workers.loss(predictions.logits, batch.target, choice, (0.7, 3.0))
    expected = paper.autograd(rule, loss)
    paper.assert_same(paper.gradients(rule, batch), expected)


# The losses that each worker learns from


@pytest.mark.parametrize("selection", ["batch", "random"])
def test_followers_get_no_part_of_the_output_loss(selection: str) -> None:
    quiet, loud = (make(rule, selection=selection) for rule in (LfnnOnline, Loud))
    batch = paper.batch_for(quiet)
    leaders = leads(quiet, batch).flatten() > 0
    assert 0 < leaders.sum() < len(leaders)
    one, other = paper.gradients(quiet, batch), paper.gradients(loud, batch)
    for name in NAMES[:2]:
        assert torch.equal(one[name][~leaders], other[name][~leaders])
        assert one[name][~leaders].any()
        assert not torch.isclose(one[name][leaders], other[name][leaders]).any()


@VARIANT
def test_variants_leave_out_terms_of_the_loss(variant: str) -> None:
    """In L = L_g + L_lead + L_fol followers learn from L_fol, and leaders from the other two."""
    lambda1, lambda2 = VARIANTS[variant]
    rule, whole = make(lambda1=lambda1, lambda2=lambda2), make()
    batch = paper.batch_for(rule)
    leaders = leads(rule, batch).flatten() > 0
    actual, full = paper.gradients(rule, batch), paper.gradients(whole, batch)
    for name in NAMES[:2]:
        assert torch.equal(actual[name][leaders], full[name][leaders]) == (lambda1 == 1)
        assert actual[name][leaders].any()
        assert torch.equal(actual[name][~leaders], full[name][~leaders]) == (lambda2 == 1)
        assert actual[name][~leaders].any() == (lambda2 == 1)
    for name in NAMES[2:]:
        assert torch.equal(actual[name], full[name])


def test_without_followers_and_local_losses_it_is_backpropagation() -> None:
    rule = make(leadership=1.0, lambda1=0.0, lambda2=9.0)
    batch = paper.batch_for(rule)
    logits = rule.predict(batch.x)
    hot = F.one_hot(batch.target, CLASSES).double()
    loss = F.binary_cross_entropy_with_logits(logits, hot, reduction="none").mean(0).sum()
    paper.assert_same(paper.gradients(rule, batch), paper.autograd(rule, loss))


@pytest.mark.parametrize("widths", [(WORKERS,), (WORKERS, 4)], ids=str)
def test_classes_do_not_influence_each_other(widths: tuple[int, ...]) -> None:
    rules = [
        paper.make(LfnnOnline, OneVsAll(workers=widths), SHAPE, leadership=0.4) for _ in range(2)
    ]
    with torch.no_grad():
        for p in rules[1].parameters():
            p.view(CLASSES, -1)[1].add_(1.0)
    batch = paper.batch_for(rules[0])
    logits = [rule.predict(batch.x) for rule in rules]
    assert (logits[0] == logits[1]).all(0).tolist() == [True, False, True]
    one, other = (paper.gradients(rule, batch) for rule in rules)
    for name, grad in one.items():
        rows, others = (g.view(CLASSES, -1) for g in (grad, other[name]))
        assert torch.equal(rows[[0, 2]], others[[0, 2]]), name
        assert not torch.equal(rows[1], others[1]), name


# The choice of leaders


@pytest.mark.parametrize(("leadership", "n"), [(0.1, 1), (0.3, 2), (0.5, 3), (0.9, 5), (1.0, 5)])
def test_leaders_are_those_of_lowest_loss_in_their_class(leadership: float, n: int) -> None:
    rule = make(leadership=leadership)
    for seed in range(5):
        batch = paper.batch_for(rule, 11, seed)
        actual = leads(rule, batch)
        x = batch.x.flatten(1).numpy()
        for k, network in enumerate(networks(rule)):
            expected = sorted(network.order(x, is_it(k, batch))[:n])
            assert actual[k].nonzero().flatten().tolist() == expected
        assert rule.workers[0].leaders == n


def test_thirty_percent_of_32_workers_are_ten() -> None:
    assert make(workers=32, leadership=0.3).workers[0].leaders == 10


def test_leaders_chosen_per_example_have_the_lowest_loss_on_it() -> None:
    rule = make(selection="example")
    batch = paper.batch_for(rule, 6)
    shares = np.zeros((CLASSES, WORKERS))
    for b in range(6):
        x = batch.x[b : b + 1].flatten(1).numpy()
        for k, network in enumerate(networks(rule)):
            shares[k, network.order(x, is_it(k, batch)[b : b + 1])[:2]] += 1 / 6
    np.testing.assert_allclose(leads(rule, batch).numpy(), shares)


def test_randomly_drawn_leaders_are_n_in_each_class_and_differ_between_classes() -> None:
    rule = make(workers=20, selection="random")
    actual = leads(rule, paper.batch_for(rule))
    assert actual.sum(1).tolist() == [8, 8, 8]
    assert not torch.equal(actual[0], actual[1])


def test_leaders_by_epoch_are_those_of_its_summed_losses_and_are_saved() -> None:
    rule, other = make(selection="epoch"), make(selection="epoch")
    summed = np.zeros((CLASSES, WORKERS))
    for index in range(3):
        batch, s = paper.batch_for(rule, seed=index), paper.step(index, last=index == 2)
        y = [network.workers(batch.x.flatten(1).numpy()) for network in networks(rule)]
        for k in range(CLASSES):
            own = is_it(k, batch)[:, None]
            summed[k] -= (own * np.log(y[k]) + (1 - own) * np.log(1 - y[k])).mean(0)
        paper.gradients(rule, batch, s)
        rule.after_step(s)
    other.load_state_dict(rule.state_dict())
    s = paper.step(3, epoch=1)
    paper.gradients(other, paper.batch_for(rule, seed=9), s)
    expected = [sorted(paper.lowest(row.tolist(), 2)) for row in summed]
    assert [row.nonzero().flatten().tolist() for row in s.logs["leaders/0"]] == expected


# Networks


def test_prediction_is_the_networks_outputs() -> None:
    rule = make()
    batch = paper.batch_for(rule)
    x = batch.x.flatten(1).numpy()
    outputs = np.stack([network.logits(x) for network in networks(rule)], axis=1)
    np.testing.assert_allclose(rule.predict(batch.x).detach().numpy(), outputs, rtol=1e-12)


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_deeper_networks_have_the_gradient_of_the_papers_loss(blocks: int, norm: str) -> None:
    rule = paper.make(
        LfnnOnline, Mlp(widths=(12, 9, 15), norm=norm), SHAPE, blocks=blocks, leadership=0.5,
        lambda1=0.7, lambda2=3.0,
    )  # fmt: skip
    batch, total = paper.batch_for(rule), torch.zeros((), dtype=torch.float64)
    hot = F.one_hot(batch.target, CLASSES).double()
    x = batch.x
    for k, block in enumerate(rule.network.blocks):
        local, workers = block.preactivation(x.detach()), block.width // CLASSES
        y = local.sigmoid().view(-1, CLASSES, workers)
        n = paper.leader_count(0.5, workers)
        mask = torch.zeros(block.width, dtype=torch.float64)
        for c in range(CLASSES):
            losses = [F.binary_cross_entropy(y[:, c, w], hot[:, c]) for w in range(workers)]
            order = sorted(range(workers), key=lambda w: losses[w].item())
            total = total + 0.7 * sum(losses[w] for w in order[:n]) / n
            for w in order[n:]:
                gap = (y[:, c, w] - y[:, c, order[0]].detach()).square().mean()
                total = total + 3.0 * gap / (workers - n)
            mask[[c * workers + w for w in order[:n]]] = 1
        z = block.preactivation(x)
        x = (mask * z + (1 - mask) * z.detach()).sigmoid()
        assert rule.workers[k].count == workers
    logits = rule.network.readout(x)
    total = total + F.binary_cross_entropy_with_logits(logits, hot, reduction="sum") / len(hot)
    paper.assert_same(paper.gradients(rule, batch), paper.autograd(rule, total))


@pytest.mark.parametrize(
    ("net", "problem", "hint"),
    [
        (Mlp(widths=(10,)), "width 10, which is not a multiple of 3 classes", "9 or 12"),
        (Mlp(widths=(2,)), "width 2", "width of 3."),
        (Mlp(widths=(9, 10)), "'fc2' has width 10", "9 or 12"),
        (Mlp(widths=(9,), norm="group"), "normalisation of 'fc1'", "no normalisation"),
        (Cnn(widths=(6, 6)), "'conv1' is not such a layer", "--network one-vs-all"),
        (
            LocalMixer(patches=2, channels=6, depth=2),
            "'patch' is not such a layer",
            "--network one-vs-all",
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("blocks", [None, 1])
def test_the_error_for_a_network_names_one_that_fits(
    net: Any, problem: str, hint: str, blocks: int | None
) -> None:
    with pytest.raises(UsageError) as caught:
        paper.make(LfnnOnline, net, (1, 4, 4), blocks=blocks)
    assert problem in caught.value.message
    assert hint in caught.value.hint


def test_the_readout_of_a_class_reads_its_own_units() -> None:
    rule = paper.make(LfnnOnline, OneVsAll(), (1, 28, 28), classes=10)
    assert rule.network.readout.weight.shape == (10, 32)
    assert parameters(rule.float(), (1, 28, 28)) == {
        "inf": 785 * 320 + 33 * 10, "aux": 0, "fix": 0,
    }  # fmt: skip
    assert rule.network.readout.weight.abs().max().item() == pytest.approx(32**-0.5, rel=0.05)


@pytest.mark.parametrize("classes", [2, 7])
def test_the_network_has_as_many_units_for_each_class(classes: int) -> None:
    rule = paper.make(LfnnOnline, OneVsAll(workers=(4, 6)), SHAPE, classes=classes)
    assert [block.width for block in rule.network.blocks] == [4 * classes, 6 * classes]
    assert [workers.count for workers in rule.workers] == [4, 6]


@pytest.mark.parametrize("workers", [(), (0,), (32, -1)], ids=str)
def test_a_network_without_workers_is_refused(workers: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="positive numbers of workers"):
        paper.make(LfnnOnline, OneVsAll(workers=workers), SHAPE)


# Training


@pytest.mark.parametrize("selection", ["batch", "example", "epoch", "first_epoch", "random"])
def test_a_step_in_bfloat16_is_finite(selection: str) -> None:
    rule = make(selection=selection).float()
    batch = paper.batch_for(rule, 16)
    batch.x = batch.x.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        grads = paper.gradients(rule, batch)
    for name, grad in grads.items():
        assert grad.dtype == torch.float32
        assert grad.isfinite().all(), name
    assert set(grads) == set(NAMES)


def test_a_confident_wrong_worker_has_a_finite_loss() -> None:
    rule = make().float()
    with torch.no_grad():
        rule.network.blocks[0].layer.affine.bias.fill_(200.0)
    batch = paper.batch_for(rule)
    batch.x = batch.x.float()
    assert all(grad.isfinite().all() for grad in paper.gradients(rule, batch).values())


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("variant", ["L1", "L4"])
def test_digits_are_learned_in_a_few_passes(variant: str, tmp_path: Path) -> None:
    """Chance is 90 %. The epoch log has how often each worker of each class led."""
    lambda1, lambda2 = VARIANTS[variant]
    options = {"lambda1": lambda1, "lambda2": lambda2}
    request = ask("lfnn_online", network="one-vs-all", epochs=10, config=options)
    (outcome,) = run(tmp_path, request)
    assert outcome.result["test_error"] < 20
    recipe = request.cell.recipe
    assert (recipe.optimizer, recipe.lr, recipe.schedule) == ("adam", 0.005, "constant")
    lines = (outcome.run_dir / "metrics.jsonl").read_text().splitlines()
    for line in lines:
        led = np.array(json.loads(line)["leaders/0"])
        assert led.shape == (10, 32)
        assert (led.sum(1) == led.sum() / 10).all()
