"""What a cell costs, from a few steps of each of its phases."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lbench.data.loader import Batches, DeviceData
from lbench.randomness import Randomness
from lbench.rule import Rule
from lbench.run import raised
from lbench.run.evaluate import autocast, evaluate
from lbench.run.optim import Update
from lbench.run.resolve import Resolved
from lbench.run.step_flops import StepFlops
from lbench.run.threads import threads_for
from lbench.step import Phase, Step
from lbench.study.study_plan import StudyPlan
from lbench.task import Batch

WARM, SECONDS, MOST = 3, 0.4, 100
"""Steps before the clock runs; seconds and steps that are then taken at most."""
SEEN = 2000
"""Examples that the steps are taken on."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a cell costs.

    Args:
        step: seconds a training step.
        evaluation: seconds to predict one example.
        flops: floating-point operations of training on one example, in matrix products.
    """

    step: float
    evaluation: float
    flops: float


def step_costs(
    plan: StudyPlan,
    device: torch.device,
    threads: int | None,
    tell: Callable[[str], None],
    cores: int = 1,
) -> dict[str, Cost]:
    """Time a few steps of each kind of configuration; return the costs by the point's key.

    A kind whose step fails has no cost. The failure is reported here, and by its runs.

    Args:
        threads: of torch on the CPU; None for as many as each network's runs will have.
        cores: that a run may use where ``threads`` is None.
        tell: told what is timed.
    """
    known: dict[Any, Cost | None] = {}
    found: dict[str, Cost] = {}
    before = torch.get_num_threads()
    try:
        for point in plan.points:
            resolved = plan.resolved[point.key]
            kind = _kind(resolved)
            if kind not in known:
                tell(f"Timing {point.rule} on {point.dataset}, {point.network}")
                try:
                    known[kind] = _cost(resolved, device, threads, cores)
                except (Exception, SystemExit) as error:
                    known[kind] = None
                    tell(f"A step failed, so there is no estimate of it: {raised.reason(error)}")
            if (cost := known[kind]) is not None:
                found[point.key] = cost
    finally:
        torch.set_num_threads(before)
    return found


def _kind(resolved: Resolved) -> Any:
    """Cells that cost the same a step, whatever their rates and weights are."""
    cell = resolved.cell
    texts = {
        name: value
        for name, value in cell.config.model_dump(mode="json").items()
        if not isinstance(value, float)
    }
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


def _cost(resolved: Resolved, device: torch.device, threads: int | None, cores: int) -> Cost:
    cell = resolved.cell
    randomness = Randomness(0)
    rule = cell.build(0)
    if threads is None:
        threads = threads_for(rule.network, cell.task.shape, cell.recipe.batch, cores)
    torch.set_num_threads(threads)
    rule = rule.to(device)
    rule.attach({g.name: Update(g, cell.recipe) for g in rule.groups() if g.params})
    train = resolved.dataset.train
    size = min(cell.recipe.batch, len(train))
    # Whole batches alone: a shorter last one, which the run may not have, costs something else.
    some = np.arange(max(size, min(len(train), SEEN) // size * size))
    data = DeviceData.of(train, some, device)
    batches = Batches(data, size, randomness.generator)
    rule.train()
    phases = rule.phases()
    total = sum(phase.share for phase in phases)
    step = flops = 0.0
    with autocast(device, cell.precision):
        for phase in phases:
            seconds, operations = _phase(rule, phase, batches, randomness, device)
            step += phase.share / total * seconds
            flops += phase.share / total * operations
    began = _now(device)
    evaluate(rule, data, cell.precision)
    return Cost(step, (_now(device) - began) / len(data), flops)


def _phase(
    rule: Rule, phase: Phase, batches: Batches, randomness: Randomness, device: torch.device
) -> tuple[float, float]:
    """Seconds of a step of a phase, and operations for one of its examples."""
    counted = StepFlops()
    done, examples, taken = 0, 1, list[float]()
    while done < WARM + 1 or (sum(taken) < SECONDS and done < MOST):
        began = _now(device)
        epoch, position = divmod(done, len(batches))
        s = Step(randomness, done, epoch, phase=phase, device=device)
        batch = Batch(*batches.batch(epoch, position))
        if done == WARM - 1:
            examples = len(batch.target)
        with counted.watched() if done == WARM - 1 else contextlib.nullcontext():
            rule.step(rule.prepare(batch, s), s)
            rule.after_step(s)
        done += 1
        if done > WARM:
            taken.append(_now(device) - began)
    # The median: a step that another process holds up says nothing.
    return statistics.median(taken), (counted.flops or 0.0) / examples


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
