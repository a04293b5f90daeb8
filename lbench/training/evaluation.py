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

BATCH = 200
"""Examples per batch: on the CPU, larger batches spend their time on allocating memory."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Error, loss and logits of a rule on a split.

    Args:
        error: percentage of examples whose largest logit is not the label's; for a sequence of
            tasks the mean over tasks with equal weight.
        loss: mean cross-entropy, averaged over tasks in the same way.
        logits: float16, (examples, classes), on the CPU.
    """

    error: float
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
    wrong = logits.argmax(1) != data.labels
    errors, losses = [], []
    for segment in data.segments:
        rows = slice(segment.start, segment.stop)
        errors.append(100 * wrong[rows].sum().item() / len(segment))
        losses.append(F.cross_entropy(logits[rows], data.labels[rows]).item())
    return Evaluation(sum(errors) / len(errors), sum(losses) / len(losses), logits.half().cpu())


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
    parts = [slice(segment.start, segment.stop) for segment in data.segments]
    errors = [100 * all_wrong[part].sum().item() / len(all_wrong[part]) for part in parts]
    means = [all_losses[part].mean().item() for part in parts]
    return sum(errors) / len(errors), sum(means) / len(means)
