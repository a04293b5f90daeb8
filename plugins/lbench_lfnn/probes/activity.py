"""activity: the change of each worker's output in a step."""

from __future__ import annotations

from typing import ClassVar

from lbench.probe import Column
from lbench.step import Step
from lbench.task import Batch
from lbench_lfnn.probes.base import WorkersProbe, for_label, labels

EVERY_STEP = 2000
"""Number of steps from the start that are all measured."""
LATER = 20
"""Interval of the steps that are measured later."""


class Activity(WorkersProbe):
    """Each worker's output after a step minus that before it, on the step's batch.

    This is the worker activity in Figure 5 of Yin et al. 2023 (arXiv:2310.07885). For workers of
    one class the change has a sign; for predictions of all classes it is a norm. The batch passes
    through the whole network both times, so a worker's output also changes with its input.
    """

    columns: ClassVar = {
        "block": Column("int", "Index of the block, from 0"),
        "label": Column("int", "Class whose workers these are; None for workers of all classes"),
        "change": Column("list[float]", "Change of each worker's output, mean over the batch"),
        "leads": Column("list[float]", "Share of the batch's examples that each worker led"),
    }

    def due(self, index: int) -> bool:
        """Return whether a step is measured: all of the first 2000, then every 20th."""
        return index < EVERY_STEP or index % LATER == 0

    def before_step(self, batch: Batch, s: Step) -> None:
        self.before = self.predictions(batch.x)

    def after_step(self, batch: Batch, s: Step) -> None:
        for k, after in self.predictions(batch.x).items():
            leads = self.leads(k, s)
            if leads is None:
                continue
            workers, change = self.rule.workers[k], after - self.before[k]
            for label in labels(workers):
                size = change.norm(dim=1) if label is None else change[:, label]
                self.record(
                    block=k, label=label, change=size.mean(0), leads=for_label(leads, label)
                )
        del self.before
