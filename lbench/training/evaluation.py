"""Errors and logits of a rule's predictions."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.data.loader import DeviceData
from lbench.rule import Rule
from lbench.training.step_flops import Products

TOP5_CLASSES = 100
"""The smallest number of classes for which the top-5 error is measured."""
BATCH = 200
"""Examples per batch: on the CPU, larger batches spend their time on allocating memory."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Error, loss and logits of a rule on a split.

    Args:
        error: percentage of examples whose largest logit is not the label's; for a sequence of
            tasks the mean over tasks with equal weight.
        top5: percentage of examples whose label has none of the five largest logits, likewise;
            None with fewer than :data:`TOP5_CLASSES` classes.
        loss: mean cross-entropy, averaged over tasks in the same way.
        logits: float16, (examples, classes), on the CPU.
    """

    error: float
    top5: float | None
    loss: float
    logits: Tensor

    @property
    def finite(self) -> bool:
        """Return whether the loss is a finite number."""
        return math.isfinite(self.loss)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Return PyTorch's autocast to bfloat16 for ``bf16``; for ``fp32`` a context without effect."""
    if precision == "fp32":
        return contextlib.nullcontext()
    # The cache of cast weights would outlive their updates.
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)


def predict_flops(rule: Rule, data: DeviceData, precision: str) -> float:
    """Return the floating-point operations of predicting one example, in its matrix products.

    They are counted on one batch of the evaluation, with the rule in evaluation mode.
    """
    x, _ = data.batch(torch.arange(min(BATCH, len(data)), device=data.device))
    rule.eval()
    with torch.no_grad(), autocast(data.device, precision), Products() as products:
        rule.predict(x)
    rule.train()
    return float(products.flops / len(x))


def prediction_seconds(rule: Rule, data: DeviceData, precision: str) -> float:
    """Return the seconds per example of an evaluation, from the quicker of two batches."""
    x, _ = data.batch(torch.arange(min(BATCH, len(data)), device=data.device))
    rule.eval()
    seconds = []
    with torch.no_grad(), autocast(data.device, precision):
        for _ in range(2):
            started = time.perf_counter()
            rule.predict(x).float().cpu()  # waits for the device
            seconds.append(time.perf_counter() - started)
    rule.train()
    return min(seconds) / len(x)


def evaluate(rule: Rule, data: DeviceData, precision: str) -> Evaluation:
    """Evaluate the rule in evaluation mode on all examples, and put it back into training mode."""
    rule.eval()
    batches = []
    with torch.no_grad(), autocast(data.device, precision):
        for x, _ in data.walk(BATCH):
            batches.append(rule.predict(x).float())
    rule.train()
    logits = torch.cat(batches)
    error = _error(logits.argmax(1) != data.labels, data)
    many = logits.shape[1] >= TOP5_CLASSES
    top5 = _error(ranks(logits, data.labels) >= 5, data) if many else None
    losses = [
        F.cross_entropy(logits[part.start : part.stop], data.labels[part.start : part.stop]).item()
        for part in data.segments
    ]
    return Evaluation(error, top5, sum(losses) / len(losses), logits.half().cpu())


def training_error(rule: Rule, data: DeviceData, precision: str) -> tuple[float, float]:
    """Return error and mean loss on all examples, as ``evaluate`` does, without their logits.

    The logits of ImageNet's training images would take 5 GB.
    """
    rule.eval()
    wrong, losses = [], []
    with torch.no_grad(), autocast(data.device, precision):
        for x, target in data.walk(BATCH):
            logits = rule.predict(x).float()
            wrong.append(logits.argmax(1) != target)
            losses.append(F.cross_entropy(logits, target, reduction="none"))
    rule.train()
    all_wrong, all_losses = torch.cat(wrong), torch.cat(losses)
    means = [all_losses[part.start : part.stop].mean().item() for part in data.segments]
    return _error(all_wrong, data), sum(means) / len(means)


def ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the number of logits that are in front of the label's, (examples,).

    Equal logits are ranked by their class, so that rank 0 is the class that ``argmax`` returns. A
    logit that is not a number is in front of every other one, and behind none.

    Args:
        logits: (examples, classes).
        labels: (examples,).
    """
    own = logits.gather(1, labels[:, None])
    classes = torch.arange(logits.shape[1], device=logits.device)
    tied = (logits == own) & (classes < labels[:, None])
    return (~(logits <= own) | tied).sum(1)


def _error(wrong: Tensor, data: DeviceData) -> float:
    """Return the percentage of wrong predictions, as a mean over the tasks of a sequence."""
    errors = [
        100 * wrong[part.start : part.stop].sum().item() / len(part) for part in data.segments
    ]
    return sum(errors) / len(errors)
