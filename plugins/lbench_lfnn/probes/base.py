"""The base class of probes of workers: their predictions and how often each one led."""

from __future__ import annotations

import importlib
import math

import torch
from torch import Tensor

from lbench.errors import UsageError
from lbench.network import Block
from lbench.probe import Probe, hidden
from lbench.step import Step
from lbench_lfnn import lbench_rules
from lbench_lfnn.network import LeaderFollowerRule
from lbench_lfnn.workers import Choice, ReadoutWorkers, Workers


class WorkersProbe(Probe):
    """A probe of rules whose blocks consist of workers.

    If each class has its own workers, there is one row per class.
    """

    rule: LeaderFollowerRule

    def begin(self) -> None:
        if not isinstance(self.scene.rule, LeaderFollowerRule):
            raise UsageError(
                f"Probe {self.name} measures leaders and followers, but the blocks of "
                f"{type(self.scene.rule).__name__} have none.",
                f"Choose one of the rules {', '.join(rules_with_workers())}.",
            )
        self.rule = self.scene.rule

    def predictions(self, x: Tensor) -> dict[int, Tensor]:
        """Return the probabilities of the workers by block, (batch, classes, workers)."""
        activations = hidden(self.rule, x)
        return {k: self.rule.workers[k].predict(z, h).y for k, (z, h) in activations.items()}

    def leads(self, k: int, s: Step) -> Tensor | None:
        """Return the share of the batch that each worker of block ``k`` led, of shape ``ranked``.

        The result is None if the step did not train the block.
        """
        return s.logs.get(f"leaders/{k}")


def labels(workers: Workers) -> list[int | None]:
    """Return the classes that have their own workers, or [None] for workers of all classes."""
    return [None] if len(workers.ranked) == 1 else list(range(workers.classes))


def for_label(values: Tensor, label: int | None) -> Tensor:
    """Return the row of a class in ``values``, or all of ``values`` if the label is None."""
    return values if label is None else values[label]


def owners(workers: Workers, block: Block) -> Tensor:
    """Return the index of the worker that owns each unit or channel of a block, (width,).

    If each class has its own workers, they are numbered consecutively, class by class. The result
    is on the CPU.
    """
    if isinstance(workers, ReadoutWorkers):
        member = workers.readouts.member.cpu()
        return member.argmax(0)[:: member.shape[1] // block.width]
    numbers = torch.arange(math.prod(workers.ranked)).float().view(1, *workers.ranked)
    z = torch.zeros(1, block.width, *((1, 1) if block.convolutional else ()))
    # A mask writes a worker's entry at each of its units, whatever the entry is.
    return workers.mask(Choice(numbers, numbers), z).flatten().long()


def rules_with_workers() -> list[str]:
    """Return the names of this plugin's rules whose workers the probes can measure."""
    names = []
    for entry in lbench_rules():
        module, _, name = entry.load.partition(":")
        if issubclass(getattr(importlib.import_module(module), name), LeaderFollowerRule):
            names.append(entry.name)
    return names
