"""Small rules on generated data, and functions that call a probe outside of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lbench.init import Init
from lbench.networks.spec import NetworkSpec
from lbench.probe import Probe, Scene
from lbench.randomness import Randomness
from lbench.rule import Rule
from lbench.step import Step
from lbench.task import Batch, Task

SHAPE, CLASSES = (2, 4, 4), 5


class GaussianClasses:
    """Examples of classes that are Gaussian."""

    def __init__(self, count: int, seed: int) -> None:
        g = torch.Generator().manual_seed(seed)
        means = torch.randn(CLASSES, *SHAPE, generator=torch.Generator().manual_seed(99))
        self.labels = torch.arange(count) % CLASSES
        self.images = means[self.labels] + torch.randn(count, *SHAPE, generator=g)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, idx: Tensor) -> tuple[Tensor, Tensor]:
        return self.images[idx], self.labels[idx]


def made(rule: type[Rule], net: NetworkSpec, *, dropout: float = 0.0, **options: Any) -> Rule:
    """Return a rule with optimizers that take a plain gradient step."""
    init = Init(1)
    network = net.build(init, SHAPE, CLASSES, dropout)
    instance = rule(network, Task("toy", SHAPE, CLASSES), rule.Config(**options), init)
    params = dict(instance.named_parameters())

    def descend(grads: Any) -> None:
        with torch.no_grad():
            for name, grad in grads.items():
                params[name].sub_(grad, alpha=0.1)

    instance.attach({group.name: descend for group in instance.groups()})
    return instance


def scene(rule: Rule, *, steps: int = 50, training: int = 400) -> Scene:
    examples, heldout = GaussianClasses(training, 1), GaussianClasses(200, 2)
    return Scene(rule, examples, heldout, Randomness(3), steps, 10)


def step_of(index: int = 0, epoch: int = 0) -> Step:
    return Step(Randomness(3), index, epoch)


def recorded(probe: Probe, call: Callable[[], None]) -> list[dict[str, Any]]:
    """Call a probe as a run does, in evaluation mode and without gradients; return its rows."""
    rule = probe.scene.rule
    rule.eval()
    with torch.no_grad():
        call()
    rule.train()
    rows, probe.rows = probe.rows, []
    return rows


def batch() -> Batch:
    return Batch(*GaussianClasses(64, 7).batch(torch.arange(64)))
