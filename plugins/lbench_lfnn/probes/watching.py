"""What the probes of this package share: workers, who led, and what they predict."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from lbench.errors import UsageError
from lbench.network import Block
from lbench.probe import Probe
from lbench.probes.activations import hidden
from lbench.registry import registry
from lbench.rule import Rule
from lbench.step import Step
from lbench_lfnn.network import LeaderFollowerRule
from lbench_lfnn.workers import Choice, ReadoutWorkers, Workers


class WorkersProbe(Probe):
    """A probe of rules whose blocks are made of workers.

    Where each class has workers of its own, what is recorded of them is a row a class.
    """

    rule: LeaderFollowerRule

    def begin(self) -> None:
        if not isinstance(self.scene.rule, LeaderFollowerRule):
            raise UsageError(
                f"Probe {self.name} looks at leaders and followers, which "
                f"{type(self.scene.rule).__name__} does not have in its blocks.",
                f"Rules that have: {', '.join(rules_with_workers())}",
            )
        self.rule = self.scene.rule

    def predictions(self, x: Tensor) -> dict[int, Tensor]:
        """What the workers of each block predict, (batch, classes, workers)."""
        seen = hidden(self.rule, x)
        return {k: self.rule.workers[k].predict(z, h).y for k, (z, h) in seen.items()}

    def leads(self, k: int, s: Step) -> Tensor | None:
        """For how much of the batch each worker of a block led, ``ranked``; None: not trained."""
        return s.logs.get(f"leaders/{k}")


def labels(workers: Workers) -> list[int | None]:
    """The classes that have workers of their own, or None for workers of all classes."""
    return [None] if len(workers.ranked) == 1 else list(range(workers.classes))


def of(values: Tensor, label: int | None) -> Tensor:
    """The row of a class, where each class has its own."""
    return values if label is None else values[label]


def owners(workers: Workers, block: Block) -> Tensor:
    """Whose each unit or channel of a block is, (width,), on the CPU.

    Workers are counted through, class by class, where each class has its own.
    """
    if isinstance(workers, ReadoutWorkers):
        member = workers.readouts.member.cpu()
        return member.argmax(0)[:: member.shape[1] // block.width]
    numbers = torch.arange(math.prod(workers.ranked)).float().view(1, *workers.ranked)
    z = torch.zeros(1, block.width, *((1, 1) if block.convolutional else ()))
    # A mask puts a worker's entry at its units, whatever the entry is.
    return workers.mask(Choice(numbers, numbers), z).flatten().long()


def rules_with_workers() -> list[str]:
    """The names of this plugin's rules that the probes can look at."""
    known = registry()
    owner = next(n for (kind, _), n in known.owners.items() if kind == "rules" and n == "lfnn")
    found = []
    for name in known.rules:
        if known.owner("rules", name) == owner:
            cls = cast(type[Rule], known.load("rules", name))
            if issubclass(cls, LeaderFollowerRule):
                found.append(name)
    return found
