"""What a study will cost, from a few steps of each kind of cell."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lbench.data.loader import Batches, DeviceData
from lbench.randomness import Randomness
from lbench.run.evaluate import autocast, evaluate
from lbench.run.optim import Update
from lbench.run.resolve import Resolved
from lbench.run.step_flops import StepFlops
from lbench.step import Step
from lbench.study.plan import Plan
from lbench.study.space import trials
from lbench.task import Batch

WARM, SECONDS, MOST = 3, 0.4, 100
"""Steps before the clock runs; seconds and steps that are then taken at most."""
OVERHEAD = 0.3
"""Seconds a run beside its training: what benchmarks/trial.py measures."""
SEEN = 2000
"""Examples that the steps are taken on."""
PRUNED = 0.6
"""Share of a search's epochs that are trained where most trials are pruned early."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a cell costs.

    Args:
        step: seconds a training step.
        evaluation: seconds to predict one example.
        flops: of a training step; None where the rule cannot be counted.
    """

    step: float
    evaluation: float
    flops: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a study costs.

    Args:
        costs: of a run at each point, by its key.
        seconds: of all that is to be trained, on one worker.
    """

    costs: Mapping[str, Cost]
    seconds: float


def estimate(
    plan: Plan, device: torch.device, threads: int, tell: Callable[[str], None]
) -> Estimate:
    """Times a few steps of each kind of cell.

    Args:
        tell: told what is timed.
    """
    known: dict[Any, Cost] = {}
    costs: dict[str, Cost] = {}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for point in plan.points:
            resolved = plan.resolved[point.key]
            kind = _kind(resolved)
            if kind not in known:
                tell(f"Timing {point.rule} on {point.dataset}, {point.network}")
                known[kind] = _time(resolved, device)
            costs[point.key] = known[kind]
    finally:
        torch.set_num_threads(before)
    return Estimate(costs, sum(_seconds(plan, key, cost) for key, cost in costs.items()))


def _kind(resolved: Resolved) -> Any:
    """Cells that cost the same a step, whatever their rates and weights are."""
    cell = resolved.cell
    texts = {n: v for n, v in cell.config.model_dump(mode="json").items() if not _number(v)}
    return (
        cell.rule,
        str(texts),
        cell.network,
        str(cell.network_spec.model_dump(mode="json")),
        cell.blocks,
        cell.task,
        cell.recipe.batch,
        cell.augmentation,
        cell.precision,
    )


def _number(value: Any) -> bool:
    return isinstance(value, float)


def _time(resolved: Resolved, device: torch.device) -> Cost:
    cell = resolved.cell
    randomness = Randomness(0)
    rule = cell.build(0).to(device)
    rule.attach({g.name: Update(g, cell.recipe) for g in rule.groups() if g.params})
    train = resolved.dataset.train
    data = DeviceData.of(train, _some(len(train)), device)
    batches = Batches(data, min(cell.recipe.batch, len(data)), randomness.generator)
    rule.train()
    phase = rule.phases()[0]
    flops = StepFlops()
    # The median: a step that another process holds up says nothing.
    done, taken = 0, list[float]()
    with autocast(device, cell.precision):
        while done < WARM + 1 or (sum(taken) < SECONDS and done < MOST):
            began = _now(device)
            epoch, position = divmod(done, len(batches))
            s = Step(randomness, done, epoch, phase=phase, device=device)
            batch = Batch(*batches.batch(epoch, position))
            with flops.watched() if done == WARM - 1 else contextlib.nullcontext():
                rule.step(rule.prepare(batch, s), s)
            rule.after_step(s)
            done += 1
            if done > WARM:
                taken.append(_now(device) - began)
    began = _now(device)
    evaluate(rule, data, cell.precision)
    seconds = (_now(device) - began) / len(data)
    return Cost(statistics.median(taken), seconds, flops.flops)


def _some(n: int) -> Any:
    import numpy as np

    return np.arange(min(n, SEEN))


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _seconds(plan: Plan, key: str, cost: Cost) -> float:
    """Of all runs at a point."""
    study, resolved = plan.study, plan.resolved[key]
    cell, data = resolved.cell, resolved.dataset
    train, test = data.examples
    learned = cell.labels * train
    epochs = cell.budget.epochs or (cell.budget.examples or 0) / learned

    def run(epochs: float) -> float:
        steps = epochs * learned / cell.recipe.batch
        # After an epoch of one task of a sequence all of them are looked at.
        seen = learned + test + 0.1 * train * epochs * max(1, len(data.segments))
        return steps * cost.step + seen * cost.evaluation + OVERHEAD

    seconds = study.seeds * run(epochs)
    if (search := study.search) is not None:
        share = PRUNED if search.pruning and len(search.objectives) == 1 else 1.0
        seconds += (
            trials(search, plan.spaces[key]) * search.seeds * share * run(search.epochs or epochs)
        )
    return seconds
