"""Runs on real data: against a NumPy replica, softmax regression, and the prediction that leaders
of a fully connected layer agree."""

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
from lbench.run.optim import Update
from lbench.run.plan import Plan
from lbench.run.resolve import Request, Resolved, resolve
from lbench.run.trainer import StoppedError, Trainer
from lbench.rundir import RunDir
from lbench.step import Step
from lbench.task import Batch
from lbench_lfnn.lfnn_l import LfnnL

from . import paper
from .replica import Replica

DATA = os.environ.get("LBENCH_DATA")
needs_mnist = pytest.mark.skipif(
    not DATA or not (Path(DATA) / "mnist").is_dir(),
    reason="needs MNIST's four files in the folder mnist of the directory LBENCH_DATA",
)


class Quiet:
    """A reporter that asks the trainer to stop at a step."""

    def __init__(self, stop_at: int) -> None:
        self.stop_at = stop_at
        self.trainer: Trainer | None = None

    def plan(self, steps: int, per_epoch: int) -> None: ...

    def step(self, done: int, loss: float) -> None:
        assert self.trainer is not None
        self.trainer.stop = done >= self.stop_at

    def epoch(self, row: dict[str, Any]) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


def trainer_of(resolved: Resolved, run_dir: Path, reporter: Quiet, rule: Rule) -> Trainer:
    """As a job makes one."""
    cell, randomness = resolved.cell, Randomness(0)
    data = DeviceData.of(resolved.dataset.train)
    return Trainer(
        rule,
        Batches(data, cell.recipe.batch, randomness.generator),
        None,
        cell.recipe,
        Plan.of(len(data), cell.recipe.batch, cell.budget.epochs, None, rule.phases()),
        randomness,
        RunDir(run_dir),
        reporter,
    )


@needs_mnist
def test_fifty_steps_on_mnist_equal_a_numpy_replica(tmp_path: Path, record_property: Any) -> None:
    assert DATA is not None
    request = Request(
        rule="lfnn_l", dataset="mnist", network="mlp-275k", protocol="paper", epochs=15,
        recipe={"optimizer": "adam", "lr": 1e-3, "schedule": "onecycle", "batch": 128},
        augmentation="", data_dir=Path(DATA),
    )  # fmt: skip
    resolved = resolve(request, registry())
    rule = resolved.cell.build(0)
    reporter = Quiet(50)
    trainer = reporter.trainer = trainer_of(resolved, tmp_path, reporter, rule)
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

    # A near-tie in the ranking would let float32 and float64 choose different leaders.
    record_property("smallest margin between ranks", replica.margin)
    worst = [
        np.abs(found.numpy() - p).max()
        for found_layer, layer in zip(parameters(rule), replica.layers, strict=True)
        for found, p in zip(found_layer, layer, strict=True)
    ]
    moved = [
        np.abs(p - start).max()
        for layer, starts in zip(replica.layers, layers, strict=True)
        for p, start in zip(layer, starts, strict=True)
    ]
    record_property("largest difference of a weight", max(worst))
    record_property("largest difference of a loss", np.abs(np.subtract(losses, expected)).max())
    assert min(moved) > 1e-3
    assert max(worst) < 1e-5
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5)
    assert expected[-1] < expected[0]


def parameters(rule: Rule) -> list[list[Tensor]]:
    """Weight and bias of every layer, the readout last."""
    sites = [block.sites[0].affine for block in rule.network.blocks]
    return [
        [affine.weight.detach(), affine.bias.detach()]
        for affine in (*sites, rule.network.readout.linear)
    ]


def digits() -> tuple[Batch, Batch]:
    """The training and the test set, float64."""
    data = Digits().load()
    train, test = (
        Batch(torch.from_numpy(split.images / 255.0), torch.from_numpy(split.labels))
        for split in (data.train, data.test)
    )
    return train, test


def worker_probabilities(rule: LfnnL, x: Tensor) -> Tensor:
    """Of the first block, (workers, examples, classes)."""
    block = rule.network.blocks[0]
    with torch.no_grad():
        return torch.stack(
            [s.softmax(1) for s in paper.worker_scores(rule, block, block.scores(x))]
        )


def test_workers_that_all_lead_are_softmax_regressions() -> None:
    """With an L2 penalty the optimum is unique, so each has scikit-learn's probabilities."""
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

    # A column of ones instead of an intercept, since weight decay falls on biases too.
    model = LogisticRegression(
        C=1 / (len(train.target) * decay), fit_intercept=False, tol=1e-10, max_iter=5000
    ).fit(with_one(train.x), train.target.numpy())
    expected = torch.from_numpy(model.predict_proba(with_one(test.x)))
    found = worker_probabilities(rule, test.x)
    assert found.shape == (count, len(test.target), 10)
    for y in found:
        print((y - expected).abs().max())
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-4)


@needs_mnist
@pytest.mark.slow
def test_workers_that_all_lead_have_the_error_of_softmax_regression_on_mnist(
    record_property: Any,
) -> None:
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
    rule.attach({group.name: Update(group, resolved.cell.recipe) for group in rule.groups()})
    rates = np.linspace(1e-3, 1e-5, 10)
    for epoch in range(10):
        for group in rule._updates.values():
            group.rate(rates[epoch])  # type: ignore[attr-defined]
        for position, (x, target) in enumerate(batches.epoch(epoch)):
            rule.train_block(
                0, x, Batch(x, target), Step(randomness, epoch * len(batches) + position, epoch)
            )

    train, test = (split.images.reshape(-1, 784) / 255.0 for split in (data.train, data.test))
    model = LogisticRegression(C=np.inf, max_iter=100, tol=1e-3).fit(train, data.train.labels)
    expected = 100 * np.mean(model.predict(test) != data.test.labels)
    y = worker_probabilities(rule, torch.from_numpy(test).float())
    errors = 100 * (y.argmax(2) != torch.from_numpy(data.test.labels)).double().mean(1)
    record_property("softmax regression", expected)
    record_property("workers", (errors.min().item(), errors.max().item()))
    assert errors.shape == (26,)
    assert (errors - expected).abs().max() < 0.5


def test_leaders_of_a_fully_connected_block_come_to_agree() -> None:
    """Softmax on the block's input is convex: all leaders head for the same probabilities."""
    train, _ = digits()
    rule = paper.make(LfnnL, Mlp(widths=(100,)), (1, 8, 8), classes=10, leadership=0.7)
    rule.attach({g.name: Update(g, Recipe(optimizer="adam", lr=3e-3)) for g in rule.groups()})

    def agreement() -> float:
        s = paper.step()
        rule.cotangent_of = None
        block = rule.network.blocks[0]
        leaders = paper.choose(
            rule, paper.worker_scores(rule, block, block.scores(train.x)), train.target
        )[0]
        y = worker_probabilities(rule, train.x)[leaders]
        unit = y / y.norm(dim=2, keepdim=True)
        cosines = torch.einsum("vbk,wbk->vw", unit, unit) / len(train.target)
        n = len(leaders)
        return ((cosines.sum() - n) / (n * (n - 1))).item()

    values = [agreement()]
    for epoch in range(12):
        order = torch.randperm(len(train.target), generator=torch.Generator().manual_seed(epoch))
        for position in range(0, len(order), 64):
            rows = order[position : position + 64]
            rule.step(Batch(train.x[rows], train.target[rows]), paper.step(epoch * 23 + position))
        if epoch in (2, 11):
            values.append(agreement())
    print(values)
