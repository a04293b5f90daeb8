"""tasks: the error on every task of a sequence after each of them, which shows forgetting."""

from __future__ import annotations

from typing import ClassVar

from torch.nn import functional as F

from lbench.errors import UsageError
from lbench.probe import Column, Probe, chunks


class Tasks(Probe):
    """The error matrix R of a sequence: R[i, j] is the error on task j after training on task i.

    Each entry is one row of the table. The matrix is that of Lopez-Paz & Ranzato 2017
    (arXiv:1706.08840, Section 2), with errors instead of accuracies; its statistics are in
    ``lbench_probes.continual``. Under the strict protocol errors are those on held-out
    examples; under ``paper`` they are on the test set, which is then read once more per task.
    """

    columns: ClassVar = {
        "trained": Column("int", "Tasks learned so far: i, from 1"),
        "task": Column("int", "The task that is predicted: j, from 1"),
        "examples": Column("int", "Examples of that task that were predicted"),
        "loss": Column("float", "Mean cross-entropy on them"),
        "error": Column("float", "Error on them, percent"),
    }

    def begin(self) -> None:
        """Check that the dataset is a sequence of tasks."""
        if not self.scene.task_ends:
            raise UsageError(
                "Probe tasks needs a sequence of tasks, which this dataset is not.",
                "For example: --dataset split-digits",
            )

    def due(self, index: int) -> bool:
        """Return False: the probe measures nothing during steps."""
        return False

    def epoch_end(self, epoch: int, step: int) -> None:
        """Predict all tasks if the epoch was the last one of a task."""
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
