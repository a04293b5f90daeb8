"""activity: by how much each worker's output changes in a step."""

from __future__ import annotations

from typing import ClassVar

from lbench.probe import Column
from lbench.step import Step
from lbench.task import Batch
from lbench_lfnn.probes.watching import WorkersProbe, labels, of

EVERY_STEP = 2000
"""So many steps are all looked at,"""
LATER = 20
"""and of later ones each 20th."""


class Activity(WorkersProbe):
    """Each worker's output after a step minus before it, on the step's batch.

    Worker activity in Figure 5 of Yin et al. 2023 (arXiv:2310.07885). The change of a single
    unit has its sign; of a prediction of all classes it is the norm. The batch passes through the
    whole network both times, so a worker's output also changes with what it receives.
    """

    columns: ClassVar = {
        "block": Column("int", "Index of the block, from 0"),
        "label": Column("int", "Class whose workers these are; None for workers of all classes"),
        "change": Column("list[float]", "Change of each worker's output, mean over the batch"),
        "leads": Column("list[float]", "Share of the batch's examples that each worker led"),
    }

    def due(self, index: int) -> bool:
        """All of the first 2000 steps, then each 20th."""
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
                moved = change.norm(dim=1) if label is None else change[:, label]
                self.record(block=k, label=label, change=moved.mean(0), leads=of(leads, label))
        del self.before
