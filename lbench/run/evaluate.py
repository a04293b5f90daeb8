"""Errors and logits of a rule's predictions."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.data.loader import DeviceData
from lbench.rule import Rule
from lbench.run.step_flops import Products

BATCH = 200
"""Examples at a time: on the CPU, larger ones spend their time on fresh memory."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a rule does on a split.

    Args:
        error: percent of examples whose highest score is not the label's; of a sequence the mean
            over tasks with equal weight.
        loss: mean cross-entropy, likewise.
        logits: float16, (examples, classes), on the CPU.
    """

    error: float
    loss: float
    logits: Tensor

    @property
    def finite(self) -> bool:
        """Whether the weights still predict numbers."""
        return math.isfinite(self.loss)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """bfloat16 where torch holds it safe, for ``bf16``; nothing for ``fp32``."""
    if precision == "fp32":
        return contextlib.nullcontext()
    # Its cache of cast weights would outlive their updates.
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


def evaluate(rule: Rule, data: DeviceData, precision: str) -> Evaluation:
    """Predictions of the rule in evaluation mode; the rule is left in training mode."""
    rule.eval()
    batches = []
    with torch.no_grad(), autocast(data.device, precision):
        for start in range(0, len(data), BATCH):
            stop = min(start + BATCH, len(data))
            x, _ = data.batch(torch.arange(start, stop, device=data.device))
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
