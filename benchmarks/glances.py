"""Cost of the checks of a run's own steps, and how often they see rare behaviour.

Claims: in a run of ten epochs of MNIST (mlp-275k, strict protocol) the checks take at most 2 % of
the processor time of the training steps; a leak in every fifth step, from a random start on, is
seen in at least 18 of 20 runs. The rate for every fiftieth step has no bar.

The costs of a step and of a check are means of processor time on one thread, in alternation. The
rates are for the checked steps of 20 seeds, with a rule that counts its steps.

    LBENCH_DATA=DIR python benchmarks/glances.py [--repeats 60]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from timing import machine, verdict

from lbench import RuleConfig, Task
from lbench.auditing.glance import glance
from lbench.auditing.schedule import StepPosition
from lbench.init import Init
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.registry import registry
from lbench.step import Phase, Step
from lbench.task import Batch
from lbench.training.cell import Cell
from lbench.training.glances import SHARE, glance_steps
from lbench.training.optim import Update
from lbench.training.resolve import Request, resolve
from lbench.training.step_plan import StepPlan

RULES = ("lfnn_l", "bp", "dfa")
SEEDS = 20
MNIST = StepPlan.of(54_000, 128, 10, None, [Phase()])
SHAPE, CLASSES = (1, 4, 4), 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=60)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    print(machine())
    met = [cost(rule, repeats) for rule in RULES]
    met.append(verdict("seen in every fifth step", rate(5), 18, at_most=False))
    print(f"seen in every fiftieth step: {rate(50)} of {SEEDS}")
    return 0 if all(met) else 1


def cost(name: str, repeats: int) -> bool:
    """Print which share of the time of a run's steps its checks take; return whether it is met."""
    cell = resolve(Request(name, "mnist", epochs=10), registry()).cell
    step, look = _step_and_look(cell)
    seconds: dict[str, list[float]] = {"step": [], "look": []}
    for repeat in range(-3, repeats):
        for what, call in (("step", step), ("look", look)):
            begin = time.process_time()
            call(repeat + 3)
            if repeat >= 0:
                seconds[what].append(time.process_time() - begin)
    step_time, check_time = (statistics.fmean(seconds[what]) for what in ("step", "look"))
    checks = len(glance_steps(MNIST, 0))
    print(
        f"{name}: a step takes {1e3 * step_time:.2f} ms, a check {1e3 * check_time:.2f} ms "
        f"({check_time / step_time:.1f} steps), {checks} checks in {MNIST.steps} steps"
    )
    share = checks * check_time / (MNIST.steps * step_time)
    return verdict(f"{name}, checks in percent of the steps", 100 * share, 100 * SHARE)


def _step_and_look(cell: Cell) -> tuple[Callable[[int], None], Callable[[int], object]]:
    rule, randomness = cell.build(0), Randomness(0)
    updates = {group.name: Update(group, cell.recipe) for group in rule.groups() if group.params}
    rule.attach(updates)
    rule.train()
    size, shape = cell.recipe.batch, cell.task.shape
    x = randomness.draw("x", 0, (size, *shape), "uniform")
    target = torch.arange(size) % cell.task.classes

    def step(index: int) -> None:
        s = Step(randomness, index)
        for update in updates.values():
            update.rate(1e-4)
        rule.step(rule.prepare(Batch(x.clone(), target), s), s)
        rule.after_step(s)

    def look(index: int) -> object:
        return glance(rule, Batch(x, target), StepPosition(index), None, 0)

    return step, look


def rate(period: int) -> int:
    """Count the seeds whose checks see a leak in every ``period``-th step."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.auditing.late_cheats import Counting, CountingToFifty

    cls = {rule.period: rule for rule in (Counting, CountingToFifty)}[period]
    seen = 0
    for seed in range(SEEDS):
        init = Init(seed)
        network = Mlp(widths=(12, 12)).build(init, SHAPE, CLASSES)
        rule = cls(network, Task("toy", SHAPE, CLASSES), RuleConfig(), init)
        begin = int(rule.count)
        draw = Randomness(seed).draw("x", 0, (32, *SHAPE), "uniform")
        batch = Batch(draw, torch.arange(32) % CLASSES)
        for index in sorted(glance_steps(MNIST, seed)):
            rule.count.fill_(begin + index)
            if glance(rule, batch, StepPosition(index), None, seed).moved:
                seen += 1
                break
    return seen


if __name__ == "__main__":
    raise SystemExit(main())
