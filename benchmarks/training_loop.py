"""Time of lbench's training loop, relative to a loop written by hand.

Claim: bp on mlp-275k with lbench's Trainer, including all that it records, takes at most 1.05 times
as long as a loop of the same arithmetic that is written for this purpose alone. Each side trains
two epochs of MNIST (938 steps, batch 128, Adam, one-cycle) from new weights, in alternation.

    LBENCH_DATA=DIR python benchmarks/training_loop.py [--repeats 20]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from timing import alternate, machine, ratio, report, verdict
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.data.loader import Batches, DeviceData
from lbench.data.mnist import Mnist
from lbench.randomness import Randomness
from lbench.registry import registry
from lbench.rundir import RunDir
from lbench.testing.practice import SilentReporter
from lbench.training.cell import Cell
from lbench.training.resolve import Request, resolve
from lbench.training.schedule import factor
from lbench.training.step_plan import StepPlan
from lbench.training.trainer import Trainer
from lbench.training.trainer_parts import Output, Procedure, TrainingData

BAR = 1.05
EPOCHS = 2


def by_lbench(cell: Cell, data: DeviceData) -> float:
    """Train with lbench's trainer, and return the loss of the last step."""
    with tempfile.TemporaryDirectory() as folder:
        rule, randomness = cell.build(0), Randomness(0)
        plan = StepPlan.of(len(data), cell.recipe.batch, EPOCHS, None, rule.phases())
        batches = Batches(data, cell.recipe.batch, randomness.generator)
        trainer = Trainer(
            rule,
            TrainingData(batches),
            Procedure(cell.recipe, plan, randomness),
            Output(RunDir(Path(folder)), SilentReporter()),
        )
        trainer.train()
        return float(trainer._losses[-1])


def by_hand(cell: Cell, images: Tensor, labels: Tensor) -> float:
    """Train in a loop written by hand, and return the loss of the last step."""
    recipe, steps = cell.recipe, -(-len(images) // cell.recipe.batch)
    network = nn.Sequential(
        nn.Linear(784, 260), nn.ReLU(), nn.Linear(260, 260), nn.ReLU(), nn.Linear(260, 10)
    )
    start = [p.detach() for p in cell.build(0).parameters()]
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), start, strict=True):
            parameter.copy_(value)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    losses = torch.zeros(steps)
    for epoch in range(EPOCHS):
        generator = Randomness(0).generator("order", epoch)
        order = torch.randperm(len(images), generator=generator)
        for position in range(steps):
            step = epoch * steps + position
            lr = recipe.lr * factor(recipe, step, EPOCHS * steps)
            optimizer.param_groups[0]["lr"] = lr
            idx = order[position * recipe.batch : (position + 1) * recipe.batch]
            x = images.index_select(0, idx).float().mul_(1 / 255)
            loss = F.cross_entropy(network(x), labels.index_select(0, idx))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses[position] = loss.detach()
    return float(losses[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    cell = resolve(Request("bp", "mnist", protocol="paper", epochs=EPOCHS), registry()).cell
    train = Mnist().load(download=False).train
    data = DeviceData.of(train)
    images = torch.from_numpy(train.images.copy()).view(len(train), -1)
    labels = torch.from_numpy(train.labels.copy())
    final: dict[str, float] = {}

    def ours() -> None:
        final["lbench"] = by_lbench(cell, data)

    def theirs() -> None:
        final["by hand"] = by_hand(cell, images, labels)

    seconds = alternate({"lbench": ours, "by hand": theirs}, repeats)
    print(machine())
    report(seconds, unit=1)
    assert abs(final["lbench"] - final["by hand"]) < 1e-4, final
    print(f"last loss of both: {final['lbench']:.6f} and {final['by hand']:.6f}")
    middle, low, high = ratio(seconds["lbench"], seconds["by hand"])
    print(f"lbench takes {middle:.3f} [{low:.3f}, {high:.3f}] times as long")
    return 0 if verdict("upper 95 % bound", high, BAR) else 1


if __name__ == "__main__":
    raise SystemExit(main())
