"""Runs on real data compared with a NumPy replica and softmax regression; relations of leaders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lbench.data.digits import Digits
from lbench.data.loader import Batches, DeviceData
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.registry import registry
from lbench.rule import Rule
from lbench.rundir import RunDir
from lbench.step import Step
from lbench.task import Batch
from lbench.training.forecast import TimeEstimate
from lbench.training.optim import Update
from lbench.training.reporter import INTERRUPTED
from lbench.training.resolve import Request, Resolved, resolve
from lbench.training.step_plan import StepPlan
from lbench.training.trainer import StoppedError, Trainer
from lbench.training.trainer_parts import Output, Procedure, TrainingData
from lbench_lfnn.lfnn_l import LfnnL

from . import paper
from .replica import Replica

DATA = os.environ.get("LBENCH_DATA")
needs_mnist = pytest.mark.skipif(
    not DATA or not (Path(DATA) / "mnist").is_dir(),
    reason="needs MNIST's four files in the folder mnist of the directory LBENCH_DATA",
)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put decoded images into a temporary directory, not into the user's cache."""
    monkeypatch.setenv("LBENCH_CACHE", str(tmp_path / "cache"))


class Quiet:
    """A reporter that asks the trainer to stop at a step."""

    def __init__(self, stop_at: int) -> None:
        self.stop_at = stop_at
        self.done = 0

    def plan(self, steps: int, per_epoch: int) -> None: ...

    def step(self, done: int, loss: float) -> None:
        self.done = done

    def expect(self, estimate: TimeEstimate) -> None: ...

    def epoch(self, row: dict[str, Any]) -> None: ...

    def stop_reason(self) -> str | None:
        return INTERRUPTED if self.done >= self.stop_at else None

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


def trainer_of(resolved: Resolved, run_dir: Path, reporter: Quiet, rule: Rule) -> Trainer:
    """Return a trainer as a job creates it."""
    cell, randomness = resolved.cell, Randomness(0)
    data = DeviceData.of(resolved.dataset.train)
    plan = StepPlan.of(len(data), cell.recipe.batch, cell.budget.epochs, None, rule.phases())
    return Trainer(
        rule,
        TrainingData(Batches(data, cell.recipe.batch, randomness.generator)),
        Procedure(cell.recipe, plan, randomness),
        Output(RunDir(run_dir), reporter),
    )


@needs_mnist
@pytest.mark.usefixtures("own_cache")
def test_fifty_steps_on_mnist_equal_a_numpy_replica(tmp_path: Path) -> None:
    """Measured differences: 1.0e-7 in weights and 3.5e-7 in losses, with no change of ranks."""
    assert DATA is not None
    request = Request(
        rule="lfnn_l", dataset="mnist", network="mlp-275k", protocol="paper", epochs=15,
        recipe={"optimizer": "adam", "lr": 1e-3, "schedule": "onecycle", "batch": 128},
        augmentation="", data_dir=Path(DATA),
    )  # fmt: skip
    resolved = resolve(request, registry())
    rule = resolved.cell.build(0)
    reporter = Quiet(50)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    trainer = trainer_of(resolved, run_dir, reporter, rule)
    assert (trainer.plan.steps, trainer.plan.per_epoch) == (15 * 469, 469)
    layers = [[p.numpy().copy() for p in layer] for layer in parameters(rule)]
    losses, after_step = [], rule.after_step

    def remember(s: Step) -> None:
        losses.append(s.logs["loss"].item())
        after_step(s)

    rule.after_step = remember  # type: ignore[method-assign]
    with pytest.raises(StoppedError):
        trainer.train()
    assert trainer.index == 50

    replica = Replica(layers, total=15 * 469, peak=1e-3)
    order = trainer.batches.order(0).numpy()
    images = resolved.dataset.train.images.reshape(60_000, 784)
    labels = resolved.dataset.train.labels
    expected = []
    for index in range(50):
        rows = order[128 * index : 128 * index + 128]
        expected.append(replica.step(images[rows] / 255.0, labels[rows]))

    assert replica.margin > 1e-6  # otherwise float32 could give other ranks, which is not an error
    worst = [
        np.abs(actual.numpy() - p).max()
        for found_layer, layer in zip(parameters(rule), replica.layers, strict=True)
        for actual, p in zip(found_layer, layer, strict=True)
    ]
    moved = [
        np.abs(p - start).max()
        for layer, starts in zip(replica.layers, layers, strict=True)
        for p, start in zip(layer, starts, strict=True)
    ]
    assert min(moved) > 1e-3
    assert max(worst) < 1e-5
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5)
    assert expected[-1] < expected[0]


def parameters(rule: Rule) -> list[list[Tensor]]:
    """Return weight and bias of every layer, with the readout last."""
    layers = [block.layers[0].affine for block in rule.network.blocks]
    return [
        [affine.weight.detach(), affine.bias.detach()]
        for affine in (*layers, rule.network.readout.linear)
    ]


def digits() -> tuple[Batch, Batch]:
    """Return the training and the test set in float64."""
    data = Digits().load()
    train, test = (
        Batch(torch.from_numpy(split.images / 255.0), torch.from_numpy(split.labels))
        for split in (data.train, data.test)
    )
    return train, test


def worker_probabilities(rule: LfnnL, x: Tensor) -> Tensor:
    """Return the probabilities of the first block's workers, (workers, examples, classes)."""
    block = rule.network.blocks[0]
    with torch.no_grad():
        return torch.stack(
            [s.softmax(1) for s in paper.worker_scores(rule, block, block.preactivation(x))]
        )


@pytest.mark.slow
@pytest.mark.thorough
def test_workers_that_all_lead_are_softmax_regressions() -> None:
    """With an L2 penalty the optimum is unique, so workers have scikit-learn's probabilities."""
    from sklearn.linear_model import LogisticRegression

    train, test = digits()
    decay, count = 1e-2, 3
    rule = paper.make(
        LfnnL, Mlp(widths=(30,)), (1, 8, 8), classes=10, leadership=1.0, leader_loss="sum"
    )
    recipe = Recipe(optimizer="sgd", lr=0.2, momentum=0.95, weight_decay=decay)
    rule.attach({group.name: Update(group, recipe) for group in rule.groups()})
    for index in range(500):
        rule.train_block(0, train.x, train, paper.step(index))

    def with_one(x: Tensor) -> Any:
        flat = x.flatten(1).numpy()
        return np.hstack([flat, np.ones((len(flat), 1))])

    # A column of ones replaces the intercept, since weight decay acts on biases too.
    model = LogisticRegression(
        C=1 / (len(train.target) * decay), fit_intercept=False, tol=1e-10, max_iter=5000
    ).fit(with_one(train.x), train.target.numpy())
    expected = torch.from_numpy(model.predict_proba(with_one(test.x)))
    actual = worker_probabilities(rule, test.x)
    assert actual.shape == (count, len(test.target), 10)
    for y in actual:
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-5)


@needs_mnist
@pytest.mark.usefixtures("own_cache")
@pytest.mark.slow
def test_workers_that_all_lead_have_the_error_of_softmax_regression_on_mnist() -> None:
    """Measured errors: 7.57 to 7.72 % for workers, and 7.88 % for scikit-learn."""
    from sklearn.linear_model import LogisticRegression

    assert DATA is not None
    request = Request(
        rule="lfnn_l", dataset="mnist", network="mlp-275k", protocol="paper", epochs=10,
        config={"leadership": 1.0}, data_dir=Path(DATA),
    )  # fmt: skip
    resolved = resolve(request, registry())
    rule, data = resolved.cell.build(0), resolved.dataset
    randomness = Randomness(0)
    batches = Batches(DeviceData.of(data.train), 128, randomness.generator)
    updates = {group.name: Update(group, resolved.cell.recipe) for group in rule.groups()}
    rule.attach(updates)
    for epoch, rate in enumerate(np.linspace(1e-3, 1e-5, 10)):
        updates["block0"].rate(rate)
        for position, (x, target) in enumerate(batches.epoch(epoch)):
            rule.train_block(
                0, x, Batch(x, target), Step(randomness, epoch * len(batches) + position, epoch)
            )

    train, test = (split.images.reshape(-1, 784) / 255.0 for split in (data.train, data.test))
    model = LogisticRegression(C=np.inf, max_iter=100, tol=1e-3).fit(train, data.train.labels)
    expected = 100 * np.mean(model.predict(test) != data.test.labels)
    y = worker_probabilities(rule, torch.from_numpy(test).float())
    errors = 100 * (y.argmax(2) != torch.from_numpy(data.test.labels)).double().mean(1)
    assert errors.shape == (26,)
    assert (errors - expected).abs().max() < 0.5


def agreement(by: str) -> list[float]:
    """Return the mean cosine of pairs of leaders' probabilities, after 0, 3 and 12 epochs."""
    train, _ = digits()
    rule = paper.make(LfnnL, Mlp(widths=(100,)), (1, 8, 8), classes=10, selection=by)
    rule.attach({g.name: Update(g, Recipe(optimizer="adam", lr=3e-3)) for g in rule.groups()})
    block, means = rule.network.blocks[0], []
    for epoch in range(13):
        if epoch in (0, 3, 12):
            logits = paper.worker_scores(rule, block, block.preactivation(train.x))
            losses = paper.worker_losses(logits, train.target).mean(0)
            y = worker_probabilities(rule, train.x)[paper.lowest(losses.tolist(), 7)]
            unit = y / y.norm(dim=2, keepdim=True)
            cosines = torch.einsum("vbk,wbk->vw", unit, unit) / len(train.target)
            means.append(((cosines.sum() - 7) / (7 * 6)).item())
        order = torch.randperm(len(train.target), generator=torch.Generator().manual_seed(epoch))
        for number, rows in enumerate(order.split(64)):
            rule.step(
                Batch(train.x[rows], train.target[rows]), paper.step(epoch * 23 + number, epoch)
            )
    return means


def test_leaders_of_a_fully_connected_block_converge() -> None:
    """Softmax regression on a block's input is convex, so leaders converge in probabilities.

    Measured: 0.935, 0.989, 0.998.
    """
    before, early, late = agreement("batch")
    assert before < early < late
    assert late > 0.995


def test_leaders_chosen_per_example_diverge() -> None:
    """Choosing per example is not convex: workers specialise. Measured: 0.935, 0.725, 0.645."""
    before, early, late = agreement("example")
    assert before > early > late
    assert late < 0.8


@pytest.mark.parametrize("name", ["bp", "lfnn", "lfnn_l"])
def test_sixty_four_digits_are_learned_without_error(name: str) -> None:
    train, _ = digits()
    batch = Batch(train.x[:64], train.target[:64])
    rule = paper.make(registry().load("rules", name), Mlp(widths=(260, 260)), (1, 8, 8), classes=10)
    rule.attach({g.name: Update(g, Recipe(optimizer="adam", lr=3e-3)) for g in rule.groups()})
    for index in range(2000):
        rule.step(batch, paper.step(index))
        if index % 50 == 49 and (rule.predict(batch.x).argmax(1) == batch.target).all():
            return
    pytest.fail("still wrong on some after 2000 steps")


@pytest.mark.parametrize("reference", ["best", "random"])
def test_the_first_five_steps_depend_on_the_seed(reference: str) -> None:
    train, _ = digits()
    ends = []
    for seed, noise in ((0, 0), (0, 0), (1, 0), (0, 1)):
        rule = paper.make(
            LfnnL, Mlp(widths=(100,)), (1, 8, 8), classes=10, seed=seed, reference=reference
        )
        rule.attach({g.name: Update(g, Recipe()) for g in rule.groups()})
        for index in range(5):
            rows = slice(32 * index, 32 * index + 32)
            rule.step(Batch(train.x[rows], train.target[rows]), Step(Randomness(noise), index))
        ends.append(rule.network.blocks[0].layer.affine.weight.detach())
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])
    assert torch.equal(ends[0], ends[3]) == (reference == "best")


@pytest.mark.slow
def test_the_same_n_workers_lead_from_the_fifth_epoch_on() -> None:
    """Figure 6 of the paper on digits: 20 % of 32 workers lead, the same six from epoch 5 on."""
    train, _ = digits()
    rule = paper.make(LfnnL, Mlp(widths=(320, 320)), (1, 8, 8), classes=10, leadership=0.2)
    rule.attach({g.name: Update(g, Recipe(optimizer="adam", lr=1e-3)) for g in rule.groups()})
    generator, epochs = torch.Generator().manual_seed(0), []
    for epoch in range(6):
        order = torch.randperm(len(train.target), generator=generator)
        counts = torch.zeros(2, 32, dtype=torch.float64)
        for index, rows in enumerate(order.split(64)[:22]):
            s = paper.step(22 * epoch + index, epoch)
            rule.step(Batch(train.x[rows], train.target[rows]), s)
            counts += torch.stack([s.logs["leaders/0"], s.logs["leaders/1"]])
        assert counts.sum(1).tolist() == [6 * 22] * 2
        epochs.append(counts)
    for k in range(2):
        first, *_, before, last = (counts[k] for counts in epochs)
        assert effective_leaders(last) < 0.75 * effective_leaders(first)
        assert effective_leaders(last) < 9
        assert jaccard(before, last) == 1 > jaccard(first, last)


def effective_leaders(counts: Tensor) -> float:
    """Return the number of equally frequent leaders that has the entropy of these counts."""
    share = counts[counts > 0] / counts.sum()
    return (-share * share.log()).sum().exp().item()


def jaccard(one: Tensor, other: Tensor) -> float:
    """Return the Jaccard index of the six workers that led most often in two epochs."""
    a, b = (set(counts.topk(6).indices.tolist()) for counts in (one, other))
    return len(a & b) / len(a | b)
