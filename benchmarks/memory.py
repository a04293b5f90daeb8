"""Peak memory of a training step: as a function of depth, and on resnet50.

Claim 1: a local rule frees a block's graph before the next block runs, so the peak memory of a step
does not grow with depth: by at most 0.05 tensors per block, where a tensor is one activation
(batch 1024 x width 1000, float32). bp keeps about one activation per block for its backward pass,
and the gradients of all weights at once.

Claim 2: on resnet50 with images of 224 x 224, 1000 classes, batches of 32 and residual blocks as
blocks, lfnn_l_rr needs at most 0.30 times the memory of bp, and less than bp with checkpoints.

Claim 3: on the same network with group norm, bp in microbatches of 8 needs at most 0.40 times the
memory of whole batches. It stores a quarter of the activations, but gradients twice.

The measurement is that of every run (``lbench.training.step_memory``): parameters and optimizer
state, which exist before the step, are not counted. For resnet50, each rule runs in a process of
its own, whose peak of resident memory and whose processor time per step are printed, too.

    python benchmarks/memory.py
    python benchmarks/memory.py resnet50
    python benchmarks/memory.py microbatch
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from timing import machine, verdict

from lbench.init import Init
from lbench.network import Network
from lbench.networks.mlp import Mlp
from lbench.networks.spec import network_spec
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.registry import registry
from lbench.rule import Rule
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.training.memory import MIB, Peak
from lbench.training.microbatch import Microbatches
from lbench.training.optim import Update
from lbench.training.step_memory import Lifetimes

BATCH, WIDTH, DEPTHS, BAR = 1024, 1000, (4, 8, 16, 32), 0.05
SHAPE = (1, 28, 28)

LARGE_BATCH, LARGE_SHAPE, LARGE_CLASSES, LARGE_BAR = 32, (3, 224, 224), 1000, 0.30
MICROBATCH, MICROBATCH_BAR = 8, 0.40


@dataclass(frozen=True)
class Side:
    """A rule on resnet50."""

    rule: str
    options: Mapping[str, Any] = field(default_factory=dict)
    norm: str = "batch"
    at_once: int = LARGE_BATCH


SIDES = {
    "resnet50": {
        "bp": Side("bp"),
        "bp, checkpoint": Side("bp", {"checkpoint": True}),
        "lfnn_l_rr": Side("lfnn_l_rr", {"pool": 1}),
    },
    "microbatch": {
        "bp": Side("bp", norm="group"),
        "bp, microbatch": Side("bp", norm="group", at_once=MICROBATCH),
    },
}


def make(name: str, options: Mapping[str, Any], network: Network, task: Task, init: Init) -> Rule:
    """Return a rule on a network, with optimizers."""
    cls: type[Rule] = registry().load("rules", name)
    rule = cls(network, task, cls.Config(**options), init)
    rule.attach({group.name: Update(group, Recipe()) for group in rule.groups()})
    return rule


def peak(name: str, depth: int) -> float:
    """Return the peak memory of the third step, in activation tensors."""
    init = Init(0)
    network = Mlp(widths=(WIDTH,) * depth).build(init, SHAPE, 10)
    rule = make(name, {}, network, Task("mnist", SHAPE, 10), init)
    batch = Batch(torch.rand(BATCH, *SHAPE), torch.randint(10, (BATCH,)))
    for index in range(2):
        rule.step(batch, Step(Randomness(0), index))
    with Lifetimes() as lifetimes:
        rule.step(batch, Step(Randomness(0), 2))
    return float(lifetimes.peak / (BATCH * WIDTH * 4))


def measure(side: Side) -> dict[str, Any]:
    """Return memory in MiB and seconds of a step on resnet50."""
    known, init = registry(), Init(0)
    entry, spec_class = known.find("networks", "resnet50"), known.load("networks", "resnet50")
    network = network_spec(entry, spec_class, {"norm": side.norm}).build(
        init, LARGE_SHAPE, LARGE_CLASSES
    )
    task = Task("imagenet", LARGE_SHAPE, LARGE_CLASSES)
    rule = make(side.rule, side.options, network, task, init)
    microbatches = Microbatches(side.at_once)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(LARGE_BATCH, *LARGE_SHAPE, generator=generator)
    target = torch.randint(LARGE_CLASSES, (LARGE_BATCH,), generator=generator)
    batch, process = Batch(x, target), Peak(torch.device("cpu"))
    microbatches.step(rule, batch, Step(Randomness(0), 0))  # the optimizers make their state
    begin = time.process_time()
    with Lifetimes() as lifetimes:
        microbatches.step(rule, batch, Step(Randomness(0), 1))
    return {
        "step_mib": lifetimes.peak / MIB,
        "process_mib": process.mib(),
        "seconds": time.process_time() - begin,
    }


def sides(kind: str) -> dict[str, float]:
    """Measure and print all sides of a kind; return their memory in MiB."""
    print(machine())
    memory = {}
    for side in SIDES[kind]:
        words = [sys.executable, __file__, kind, side]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        m = json.loads(done.stdout)
        memory[side] = m["step_mib"]
        print(
            f"{side:16} {m['step_mib']:6.0f} MiB in a step's tensors, {m['process_mib']:6.0f} MiB "
            f"in the process, {m['seconds']:5.1f} s of processor time per step",
            flush=True,
        )
    return memory


def resnet50() -> int:
    """Measure and print claim 2; return the exit code."""
    memory = sides("resnet50")
    own, bp, checkpoint = (memory[side] for side in ("lfnn_l_rr", "bp", "bp, checkpoint"))
    met = verdict("memory of lfnn_l_rr, times bp", own / bp, LARGE_BAR)
    less = verdict("the same, times bp with checkpoints", own / checkpoint, 1.0)
    return 0 if met and less else 1


def microbatch() -> int:
    """Measure and print claim 3; return the exit code."""
    memory = sides("microbatch")
    ratio = memory["bp, microbatch"] / memory["bp"]
    return 0 if verdict("memory of bp in microbatches, times bp", ratio, MICROBATCH_BAR) else 1


def main() -> int:
    if kind := sys.argv[1:2]:
        if side := sys.argv[2:]:
            print(json.dumps(measure(SIDES[kind[0]][side[0]])))
            return 0
        return {"resnet50": resnet50, "microbatch": microbatch}[kind[0]]()
    print(machine())
    slopes = {}
    for name in ("bp", "lfnn", "lfnn_l"):
        peaks = [peak(name, depth) for depth in DEPTHS]
        slopes[name] = float(np.polyfit(DEPTHS, peaks, 1)[0])
        shown = ", ".join(f"{d}: {p:.2f}" for d, p in zip(DEPTHS, peaks, strict=True))
        print(f"{name:8} tensors at depth {shown}; slope {slopes[name]:.4f} per block")
    return 0 if verdict("slope of lfnn_l", slopes["lfnn_l"], BAR) else 1


if __name__ == "__main__":
    raise SystemExit(main())
