"""Cost of a configuration, measured on a few steps of each of its phases."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lbench.data.loader import Batches
from lbench.data.stream import batches_of, examples_of
from lbench.randomness import Randomness
from lbench.rule import Rule
from lbench.step import Phase, Step
from lbench.studies.study_plan import StudyPlan
from lbench.task import Batch
from lbench.training import plugin_errors
from lbench.training.evaluation import autocast, prediction_seconds
from lbench.training.full_audit import regrouped
from lbench.training.microbatch import Microbatches
from lbench.training.optim import Update
from lbench.training.resolve import Resolved
from lbench.training.step_flops import StepFlops
from lbench.training.threads import threads_for

WARMUP_STEPS, MAX_SECONDS, MAX_STEPS = 3, 0.4, 100
"""Steps before the timed ones; timing stops after this many seconds or steps."""
EXAMPLES = 2000
"""Training examples on which the timed steps run."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a configuration.

    Args:
        step: seconds per training step.
        evaluation: seconds per example for prediction.
        flops: floating-point operations of matrix products per training example.
        threads: threads of torch on the CPU.
        blocks: number of blocks that the network's layers are joined to; None for its own.
    """

    step: float
    evaluation: float
    flops: float
    threads: int = 1
    blocks: int | None = None


def step_costs(
    plan: StudyPlan,
    device: torch.device,
    threads: int | None,
    report: Callable[[str], None],
    cores: int = 1,
) -> dict[str, Cost]:
    """Time a few steps of each kind of configuration; return the costs by the point's key.

    A kind whose step fails has no cost. The failure is reported here and by its runs.

    Args:
        plan: the plan.
        device: device on which the steps run.
        threads: threads of torch on the CPU; None for the number that runs of the network have.
        report: called with messages about the progress.
        cores: cores that a run may use where ``threads`` is None.
    """
    by_kind: dict[Any, Cost | None] = {}
    costs: dict[str, Cost] = {}
    before = torch.get_num_threads()
    try:
        for point in plan.points:
            resolved = plan.resolved[point.key]
            kind = _kind(resolved)
            if kind not in by_kind:
                report(f"Timing {point.rule} on {point.dataset}, {point.network}")
                try:
                    by_kind[kind] = _cost(resolved, device, threads, cores)
                except (Exception, SystemExit) as error:
                    by_kind[kind] = None
                    report(f"A step failed, so its time is unknown: {plugin_errors.reason(error)}")
            if (cost := by_kind[kind]) is not None:
                costs[point.key] = cost
    finally:
        torch.set_num_threads(before)
    return costs


def _kind(resolved: Resolved) -> Any:
    """Return a key that is equal for configurations whose steps cost the same.

    Real-valued options, such as rates and loss weights, do not change the cost.
    """
    cell = resolved.cell
    options = {
        name: value
        for name, value in cell.config.model_dump(mode="json").items()
        if not isinstance(value, float)
    }
    return (
        cell.rule,
        str(options),
        cell.network,
        str(cell.network_spec.model_dump(mode="json")),
        cell.blocks,
        cell.task,
        cell.recipe.batch,
        cell.microbatch,
        cell.augmentation,
        cell.precision,
    )


def _cost(resolved: Resolved, device: torch.device, threads: int | None, cores: int) -> Cost:
    cell = resolved.cell
    randomness = Randomness(0)
    rule = cell.build(0)
    if threads is None:
        threads = threads_for(rule.network, cell.task.shape, cell.examples_at_once, cores)
    torch.set_num_threads(threads)
    rule = rule.to(device)
    rule.attach({g.name: Update(g, cell.recipe) for g in rule.groups() if g.params})
    train = resolved.dataset.train
    size = min(cell.recipe.batch, len(train))
    # Full batches only: a shorter last one has another cost, and the run may not have one.
    examples = np.arange(max(size, min(len(train), EXAMPLES) // size * size))
    data = examples_of(train, examples, device, workers=cores)
    batches = batches_of(data, size, randomness.generator)
    rule.train()
    phases = rule.phases()
    total = sum(phase.share for phase in phases)
    step = flops = 0.0
    microbatches = Microbatches(cell.examples_at_once)
    with autocast(device, cell.precision):
        for phase in phases:
            seconds, operations = _phase(rule, microbatches, phase, batches, randomness, device)
            step += phase.share / total * seconds
            flops += phase.share / total * operations
    evaluation = prediction_seconds(rule, data, cell.precision)
    return Cost(step, evaluation, flops, threads, regrouped(rule.network))


def _phase(
    rule: Rule,
    microbatches: Microbatches,
    phase: Phase,
    batches: Batches,
    randomness: Randomness,
    device: torch.device,
) -> tuple[float, float]:
    """Return the seconds per step of a phase and the operations per training example."""
    flops = StepFlops()
    done, examples, seconds = 0, 1, list[float]()
    while done < WARMUP_STEPS + 1 or (sum(seconds) < MAX_SECONDS and done < MAX_STEPS):
        start = _now(device)
        epoch, position = divmod(done, len(batches))
        s = Step(randomness, done, epoch, phase=phase, device=device)
        batch = Batch(*batches.batch(epoch, position))
        counted = done == WARMUP_STEPS - 1
        if counted:
            examples = len(batch.target)
        with flops.measure() if counted else contextlib.nullcontext():
            microbatches.step(rule, batch, s)
        done += 1
        if done > WARMUP_STEPS:
            seconds.append(_now(device) - start)
    # The median ignores steps that another process delays.
    return statistics.median(seconds), (flops.flops or 0.0) / examples


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
