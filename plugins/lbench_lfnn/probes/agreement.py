"""agreement: whether the leaders of a block converge to one classifier."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.probe import Column
from lbench.probes.activations import chunks
from lbench.step import Step
from lbench.task import Batch
from lbench_lfnn.probes.regression import fit
from lbench_lfnn.probes.watching import WorkersProbe, labels, of
from lbench_lfnn.workers import Workers

EXAMPLES = 5000
"""Held-out examples that are looked at, at most; drawn once a run."""


class Agreement(WorkersProbe):
    """How much leaders' predictions differ from each other, and from a linear classifier's.

    A worker whose units are the logits of all classes solves a convex problem (lfnn_l of Yin et
    al. 2023, arXiv:2310.07885, Section 2): its leaders should come to agree in probabilities, in
    the first block with those of a logistic regression of the input. The leaders are those who
    led most in the epoch's last step. All numbers are means over at most 5,000 held-out examples.
    Regressions are compared with fully connected first blocks alone, and are fitted once, to all
    training examples: one a class where each class has workers of its own.
    """

    columns: ClassVar = {
        "block": Column("int", "Index of the block, from 0"),
        "label": Column("int", "Class whose workers these are; None for workers of all classes"),
        "leaders": Column("list[int]", "Indices of the leaders"),
        "cosine": Column("float", "Cosine of two leaders' probabilities, mean over pairs"),
        "tv_mean": Column("float", "Total variation between two leaders, mean over pairs"),
        "tv_min": Column("float", "The same of the closest pair"),
        "tv_max": Column("float", "The same of the farthest pair"),
        "error": Column("list[float]", "Error of each worker's own prediction, percent"),
        "regression_tv": Column("float", "Total variation from the regression, mean over leaders"),
        "regression_error": Column("float", "Error of the regression, percent"),
    }

    def begin(self) -> None:
        super().begin()
        order = torch.randperm(len(self.scene.heldout), generator=self.generator("heldout"))
        self.idx = order[:EXAMPLES]
        self.led: dict[int, Tensor | None] = {}
        self.regression: tuple[Tensor, Tensor] | None = None

    def after_step(self, batch: Batch, s: Step) -> None:
        # No checkpoint lies between an epoch's last step and its end.
        if s.last:
            self.led = {k: self.leads(k, s) for k in range(len(self.rule.workers))}

    def epoch_end(self, epoch: int, step: int) -> None:
        blocks, linear, target = self.outputs()
        for k, y in blocks.items():
            workers, led = self.rule.workers[k], self.led.get(k)
            if led is None:
                continue
            for label in labels(workers):
                own = vectors(y, label)
                right = target if label is None else (target == label).long()
                leaders = _leaders(of(led, label), workers)
                regression = vectors(linear, label) if linear is not None and k == 0 else None
                self.record(
                    block=k,
                    label=label,
                    leaders=leaders,
                    **pairs(own[:, :, leaders]),
                    error=error(own, right),
                    **beside(own[:, :, leaders], regression, right),
                )

    def outputs(self) -> tuple[dict[int, Tensor], Tensor | None, Tensor]:
        """What workers predict, by block, and the regression, as if a worker; and the labels."""
        found: dict[int, list[Tensor]] = {}
        linear, targets = [], []
        for x, target in chunks(self.scene.heldout, self.idx):
            for k, y in self.predictions(x).items():
                found.setdefault(k, []).append(y)
            if (logits := self.regress(x)) is not None:
                linear.append(logits[:, :, None])
            targets.append(target)
        blocks = {k: torch.cat(parts) for k, parts in found.items()}
        return blocks, torch.cat(linear) if linear else None, torch.cat(targets)

    def regress(self, x: Tensor) -> Tensor | None:
        """The regression's probabilities, (batch, classes); it is fitted when first asked."""
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
    """(examples, classes, workers), or for workers of one class (examples, not it or it, …)."""
    return y if label is None else torch.stack([1 - y[:, label], y[:, label]], 1)


def error(y: Tensor, target: Tensor) -> Tensor:
    """Percent, by worker."""
    return 100 * (y.argmax(1) != target[:, None]).double().mean(0)


def beside(chosen: Tensor, regression: Tensor | None, target: Tensor) -> dict[str, float | None]:
    """The columns about the regression."""
    if regression is None:
        return {"regression_tv": None, "regression_error": None}
    return {
        "regression_tv": float(variation(chosen, regression).mean()),
        "regression_error": float(error(regression, target)),
    }


def pairs(chosen: Tensor) -> dict[str, float | None]:
    """The columns about pairs of leaders, of their probabilities (examples, vector, leaders)."""
    count = chosen.shape[2]
    if count < 2:
        return dict.fromkeys(("cosine", "tv_mean", "tv_min", "tv_max"))
    unit = F.normalize(chosen.double(), dim=1)
    # The square of a sum of unit vectors is their number and twice the cosines of all pairs.
    total = unit.sum(2).square().sum(1).mean()
    distances = torch.cat(
        [variation(chosen[:, :, i + 1 :], chosen[:, :, i, None]) for i in range(count - 1)]
    )
    return {
        "cosine": float((total - count) / (count * (count - 1))),
        "tv_mean": float(distances.mean()),
        "tv_min": float(distances.min()),
        "tv_max": float(distances.max()),
    }


def variation(one: Tensor, other: Tensor) -> Tensor:
    """Mean total variation of probabilities (examples, vector, workers), by worker."""
    return (one - other).abs().sum(1).double().mean(0) / 2


def _leaders(led: Tensor, workers: Workers) -> Tensor:
    order = led.argsort(descending=True, stable=True)
    return order[: workers.leaders].sort().values
