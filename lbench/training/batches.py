"""The check that a network can be trained on every batch of its data."""

from __future__ import annotations

import numpy as np
import torch

from lbench.data.loader import DeviceData
from lbench.data.parts import training_sizes
from lbench.errors import UsageError
from lbench.randomness import Randomness
from lbench.step import Phase, Step
from lbench.task import Batch
from lbench.training.optim import Update
from lbench.training.resolve import Resolved
from lbench.training.step_plan import StepPlan

ALONE = "more than 1 value per channel"
"""Part of PyTorch's message when BatchNorm gets one value per channel."""


def check_batches(resolved: Resolved) -> None:
    """Check that no batch has a single example if BatchNorm cannot train on it.

    BatchNorm can train on a single example that has several positions, and a rule need not use
    the network; so the check tries a step on one example.

    Raises:
        UsageError: a batch has a single example; the hint names a batch size that fits.
    """
    if resolved.couples == "none":
        return
    cell = resolved.cell
    sizes = training_sizes(resolved.dataset, cell.validation, cell.labels)
    batch = cell.recipe.batch
    if not _one_alone(sizes, batch, cell.budget.examples) or _trains_on_one(resolved):
        return
    near = [*range(min(batch, max(sizes)), 1, -1), *range(2, max(sizes) + 1)]
    fitting = next((b for b in near if not _one_alone(sizes, b, cell.budget.examples)), None)
    examples = " or ".join(str(size) for size in dict.fromkeys(sizes))
    raise UsageError(
        f"{examples} training examples in batches of {batch} leave a batch of one example, on "
        "which BatchNorm cannot train.",
        "Train on more examples." if fitting is None else f"A batch of {fitting} leaves none.",
    )


def _one_alone(sizes: list[int], batch: int, budget: int | None) -> bool:
    """Return whether one of the batches has one example, within a budget in examples."""
    plan = StepPlan.of(sizes, batch, 1 if budget is None else None, budget, (Phase(),))
    if plan.steps < plan.per_epoch:
        # The last batch of an epoch is not reached.
        return min(batch, *sizes) == 1
    return any((size % batch or batch) == 1 for size in sizes)


def _trains_on_one(resolved: Resolved) -> bool:
    cell, train = resolved.cell, resolved.dataset.train
    rule = cell.build(0)
    rule.attach({g.name: Update(g, cell.recipe) for g in rule.groups() if g.params})
    example = DeviceData.of(train, np.arange(1)).batch(torch.zeros(1, dtype=torch.long))
    rule.train()
    try:
        for phase in rule.phases():
            s = Step(Randomness(0), phase=phase)
            rule.step(rule.prepare(Batch(*example), s), s)
    except ValueError as error:
        return ALONE not in str(error)
    except (Exception, SystemExit):
        # The run reports any other error.
        return True
    return True
