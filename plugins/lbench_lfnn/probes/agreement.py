"""agreement: whether the leaders of a block converge to one classifier."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.probe import Column, chunks
from lbench.step import Step
from lbench.task import Batch
from lbench_lfnn.probes.base import WorkersProbe, for_label, labels
from lbench_lfnn.probes.regression import fit
from lbench_lfnn.workers import Workers

EXAMPLES = 5000
"""Largest number of held-out examples that are used; they are drawn once per run."""


class Agreement(WorkersProbe):
    """Distances of leaders' predictions from each other, and from those of a linear classifier.

    Leaders whose units are the logits of all classes solve the same convex problem (lfnn_l of Yin
    et al. 2023, arXiv:2310.07885, Section 2), so their probabilities should converge, and in the
    first block they should converge to those of a logistic regression of the input. The leaders
    are the workers that led most examples in the last step of the epoch. All numbers are means
    over at most 5,000 held-out examples. Regressions are compared only with fully connected first
    blocks. They are fitted once, to all training examples: one regression per class if each class
    has its own workers.
    """

    columns: ClassVar = {
        "block": Column("int", "Index of the block, from 0"),
        "label": Column("int", "Class whose workers these are; None for workers of all classes"),
        "leaders": Column("list[int]", "Indices of the leaders"),
        "cosine": Column("float", "Cosine of two leaders' probabilities, mean over pairs"),
        "tv_mean": Column("float", "Total variation between two leaders, mean over pairs"),
        "tv_min": Column("float", "Total variation between the closest pair of leaders"),
        "tv_max": Column("float", "Total variation between the farthest pair of leaders"),
        "error": Column("list[float]", "Error of each worker's own prediction, percent"),
        "regression_tv": Column("float", "Total variation from the regression, mean over leaders"),
        "regression_error": Column("float", "Error of the regression, percent"),
    }

    def begin(self) -> None:
        super().begin()
        order = torch.randperm(len(self.scene.heldout), generator=self.generator("heldout"))
        self.idx = order[:EXAMPLES]
        self.last_leads: dict[int, Tensor | None] = {}
        self.regression: tuple[Tensor, Tensor] | None = None

    def after_step(self, batch: Batch, s: Step) -> None:
        # There is no checkpoint between the last step of an epoch and its end.
        if s.last:
            self.last_leads = {k: self.leads(k, s) for k in range(len(self.rule.workers))}

    def epoch_end(self, epoch: int, step: int) -> None:
        blocks, linear, target = self.outputs()
        for k, y in blocks.items():
            workers, leads = self.rule.workers[k], self.last_leads.get(k)
            if leads is None:
                continue
            for label in labels(workers):
                own = vectors(y, label)
                label_target = target if label is None else (target == label).long()
                leaders = _leaders(for_label(leads, label), workers)
                regression = vectors(linear, label) if linear is not None and k == 0 else None
                self.record(
                    block=k,
                    label=label,
                    leaders=leaders,
                    **pair_columns(own[:, :, leaders]),
                    error=error(own, label_target),
                    **regression_columns(own[:, :, leaders], regression, label_target),
                )

    def outputs(self) -> tuple[dict[int, Tensor], Tensor | None, Tensor]:
        """Return the workers' predictions by block, the regression's, and the labels.

        The predictions of the regression are shaped as those of a single worker, or None.
        """
        parts: dict[int, list[Tensor]] = {}
        linear, targets = [], []
        for x, target in chunks(self.scene.heldout, self.idx):
            for k, y in self.predictions(x).items():
                parts.setdefault(k, []).append(y)
            if (logits := self.regress(x)) is not None:
                linear.append(logits[:, :, None])
            targets.append(target)
        blocks = {k: torch.cat(block_parts) for k, block_parts in parts.items()}
        return blocks, torch.cat(linear) if linear else None, torch.cat(targets)

    def regress(self, x: Tensor) -> Tensor | None:
        """Return the regression's probabilities, (batch, classes), and fit it in the first call.

        The result is None if the first block is convolutional.
        """
        if self.rule.network.blocks[0].convolutional:
            return None
        workers = self.rule.workers[0]
        binary = len(workers.ranked) > 1
        if self.regression is None:
            self.regression = fit(self.scene.training, workers.classes, binary=binary)
        weight, bias = self.regression
        logits = x.flatten(1).double() @ weight + bias
        return logits.sigmoid() if binary else logits.softmax(1)


def vectors(y: Tensor, label: int | None) -> Tensor:
    """Return probabilities (examples, classes, workers), with 2 classes for a label's workers.

    The classes of a label's workers are "not the label" and "the label".
    """
    return y if label is None else torch.stack([1 - y[:, label], y[:, label]], 1)


def error(y: Tensor, target: Tensor) -> Tensor:
    """Return the error of each worker in percent, (workers,)."""
    return 100 * (y.argmax(1) != target[:, None]).double().mean(0)


def regression_columns(
    y: Tensor, regression: Tensor | None, target: Tensor
) -> dict[str, float | None]:
    """Return the columns about the regression, from leaders' probabilities ``y``."""
    if regression is None:
        return {"regression_tv": None, "regression_error": None}
    return {
        "regression_tv": float(variation(y, regression).mean()),
        "regression_error": float(error(regression, target)),
    }


def pair_columns(y: Tensor) -> dict[str, float | None]:
    """Return the columns about pairs of leaders; ``y`` is (examples, classes, leaders)."""
    count = y.shape[2]
    if count < 2:
        return dict.fromkeys(("cosine", "tv_mean", "tv_min", "tv_max"))
    unit = F.normalize(y.double(), dim=1)
    # The squared norm of a sum of unit vectors is their number plus twice the sum of cosines.
    total = unit.sum(2).square().sum(1).mean()
    distances = torch.cat([variation(y[:, :, i + 1 :], y[:, :, i, None]) for i in range(count - 1)])
    return {
        "cosine": float((total - count) / (count * (count - 1))),
        "tv_mean": float(distances.mean()),
        "tv_min": float(distances.min()),
        "tv_max": float(distances.max()),
    }


def variation(y1: Tensor, y2: Tensor) -> Tensor:
    """Return the mean total variation of probabilities (examples, classes, workers), by worker."""
    return (y1 - y2).abs().sum(1).double().mean(0) / 2


def _leaders(leads: Tensor, workers: Workers) -> Tensor:
    order = leads.argsort(descending=True, stable=True)
    return order[: workers.leaders].sort().values
