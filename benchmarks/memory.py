"""Peak memory of a training step as a function of depth.

Claim: a local rule frees a block's graph before the next block runs, so the peak memory of a step
does not grow with depth: by at most 0.05 tensors per block, where a tensor is one activation
(batch 1024 x width 1000, float32). bp keeps about one activation per block for its backward pass,
and the gradients of all weights at once.

The measurement is that of every run (``lbench.training.step_memory``): parameters and optimizer
state, which exist before the step, are not counted.

    python benchmarks/memory.py
"""

from __future__ import annotations

import numpy as np
import torch
from timing import machine, verdict

from lbench.init import Init
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.registry import registry
from lbench.rule import Rule
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.training.optim import Update
from lbench.training.step_memory import Lifetimes

BATCH, WIDTH, DEPTHS, BAR = 1024, 1000, (4, 8, 16, 32), 0.05
SHAPE = (1, 28, 28)


def peak(name: str, depth: int) -> float:
    """Return the peak memory of the third step, in activation tensors."""
    cls: type[Rule] = registry().load("rules", name)
    init = Init(0)
    network = Mlp(widths=(WIDTH,) * depth).build(init, SHAPE, 10)
    rule = cls(network, Task("mnist", SHAPE, 10), cls.Config(), init)
    rule.attach({group.name: Update(group, Recipe()) for group in rule.groups()})
    batch = Batch(torch.rand(BATCH, *SHAPE), torch.randint(10, (BATCH,)))
    for index in range(2):
        rule.step(batch, Step(Randomness(0), index))
    with Lifetimes() as lifetimes:
        rule.step(batch, Step(Randomness(0), 2))
    return lifetimes.peak / (BATCH * WIDTH * 4)


def main() -> int:
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
