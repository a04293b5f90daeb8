"""tasks: what a rule still knows of every task of a sequence, after each of them."""

from __future__ import annotations

from typing import ClassVar

from torch.nn import functional as F

from lbench.errors import UsageError
from lbench.probe import Column, Probe
from lbench.probes.activations import chunks


class Tasks(Probe):
    """The error matrix R of a sequence, one row an entry: R[i, j] is the error on task j after i.

    Lopez-Paz & Ranzato 2017, arXiv:1706.08840, Section 2, with errors for accuracies; what is
    worked out from it is in ``lbench.statistics.continual``. Under the strict protocol errors are
    those on held-out examples; under ``paper`` on the test set, which is read once a task more.
    """

    columns: ClassVar = {
        "trained": Column("int", "Tasks learned so far: i, from 1"),
        "task": Column("int", "The task that is looked at: j, from 1"),
        "examples": Column("int", "Examples of that task that were predicted"),
        "loss": Column("float", "Mean cross-entropy on them"),
        "error": Column("float", "Error on them, percent"),
    }

    def begin(self) -> None:
        """Checks that there are tasks."""
        if not self.scene.task_ends:
            raise UsageError(
                "Probe tasks looks at a sequence of tasks, which this dataset is not.",
                "For example: --dataset split-digits",
            )

    def due(self, index: int) -> bool:
        """No single step."""
        return False

    def epoch_end(self, epoch: int, step: int) -> None:
        """Predicts all tasks when one has ended."""
        ends = list(self.scene.task_ends)
        if epoch not in ends:
            return
        for task, examples in enumerate(self.scene.judged(), start=1):
            wrong, loss = 0, 0.0
            for x, target in chunks(examples):
                logits = self.scene.rule.predict(x).float()
                wrong += int((logits.argmax(1) != target).sum())
                loss += float(F.cross_entropy(logits, target, reduction="sum"))
            self.record(
                trained=ends.index(epoch) + 1,
                task=task,
                examples=len(examples),
                loss=loss / len(examples),
                error=100 * wrong / len(examples),
            )
