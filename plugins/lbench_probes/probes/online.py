"""online: the rule's error on each batch before it learns from it."""

from __future__ import annotations

from typing import ClassVar

from lbench.probe import Column, Probe
from lbench.step import Step
from lbench.task import Batch


class Online(Probe):
    """Loss and error of the rule's predictions on the batch that the step is about to learn from.

    In a run of one pass every batch is new, and the mean over steps is the prequential error
    (Dawid 1984, Journal of the Royal Statistical Society A 147).
    """

    columns: ClassVar = {
        "examples": Column("int", "Examples in the batch"),
        "loss": Column("float", "Mean cross-entropy of the batch before the step on it"),
        "error": Column("float", "Error on the batch before the step on it, percent"),
    }

    def before_step(self, batch: Batch, s: Step) -> None:
        """Predict the batch."""
        logits = self.scene.rule.predict(batch.x).float()
        wrong = (logits.argmax(1) != batch.target).double().mean()
        self.record(
            examples=len(batch.target),
            loss=self.scene.rule.task.loss(logits, batch.target),
            error=100 * wrong,
        )
