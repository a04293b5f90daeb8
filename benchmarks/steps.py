"""Time of a training step of each rule, relative to a step of bp.

Claims, as multiples of the time of a step of bp:

- lfnn_l takes at most 0.95, since it has no backward pass through the blocks: eight large matrix
  products instead of eleven. With a fixed readout for its workers, lfnn_l_rr takes at most 1.1.
- fa and dfa take at most 1.15, since other weights in the backward pass cost little. usf, which
  computes them from the signs in every step, takes at most 1.3.
- pred, with a head of one layer, takes at most 1.2. predsim, with a second layer as wide as the
  block, its gradients and its Adam state, takes at most 2.2.
- fg_a and lg_fg_a take at most 1.8, with noise for every unit and tangents of the activations.
- fg_w and lg_fg_w take at most 3, with noise for every weight; drawing it is more than a quarter
  of the step.

Network: mlp of four layers of 1000 units, MNIST-shaped input, batch 128, Adam.

    python benchmarks/steps.py [--repeats 60] [--rules lfnn_l,fa]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from timing import alternate, machine, ratio, report, verdict

from lbench.init import Init
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.registry import registry
from lbench.rule import Rule
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.training.optim import Update

BARS = {
    "lfnn_l": 0.95,
    "lfnn_l_rr": 1.1,
    "fa": 1.15,
    "dfa": 1.15,
    "usf": 1.3,
    "pred": 1.2,
    "predsim": 2.2,
    "fg_a": 1.8,
    "lg_fg_a": 1.8,
    "fg_w": 3.0,
    "lg_fg_w": 3.0,
}
SHAPE = (1, 28, 28)


def stepper(name: str, batch: Batch) -> Callable[[], None]:
    """Return a function that makes one training step of a rule."""
    cls: type[Rule] = registry().load("rules", name)
    init = Init(0)
    network = Mlp(widths=(1000,) * 4).build(init, SHAPE, 10)
    rule = cls(network, Task("mnist", SHAPE, 10), cls.Config(), init)
    groups = [group for group in rule.groups() if group.params]
    rule.attach({group.name: Update(group, Recipe()) for group in groups})
    index = 0

    def step() -> None:
        nonlocal index
        s = Step(Randomness(0), index)
        rule.step(rule.prepare(batch, s), s)
        rule.after_step(s)
        index += 1

    return step


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=60)
    others = [name for name in registry().rules if name != "bp"]
    parser.add_argument("--rules", default=",".join(others))
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    batch = Batch(
        torch.rand(128, *SHAPE, generator=generator),
        torch.randint(10, (128,), generator=generator),
    )
    names = ["bp", *arguments.rules.split(",")]
    seconds = alternate(
        {name: stepper(name, batch) for name in names}, arguments.repeats, warm_up=10
    )
    print(machine())
    report(seconds)
    met = True
    for name in names[1:]:
        middle, low, high = ratio(seconds[name], seconds["bp"])
        print(f"{name} takes {middle:.3f} [{low:.3f}, {high:.3f}] times as long as bp")
        if name in BARS:
            met &= verdict(name, middle, BARS[name])
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
