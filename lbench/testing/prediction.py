"""Checks of a rule's predictions, and of the state that they depend on."""

from __future__ import annotations

import io

import torch

from lbench.task import Batch
from lbench.testing.subject import (
    CLASSES,
    FailedError,
    Subject,
    differing,
    listed,
    logits,
    toy,
    train,
    weights,
)

TOLERANCE = 1e-4
"""Largest difference of logits, as a share of the largest; matrix sizes change the rounding."""


def predict_changes_nothing(subject: Subject) -> None:
    """Check that predictions repeat, change nothing, and are the same alone and in a batch."""
    for net in subject.nets:
        rule = subject.build(net)
        batch, *_ = batches = toy()
        train(rule, batches)
        rule.eval()
        state, x = weights(rule), batch.x.clone()
        with torch.no_grad():
            first = rule.predict(x)
            if names := differing(state, weights(rule)):
                raise FailedError(f"on {net.label} predicting changes {listed(names)}")
            if not torch.equal(x, batch.x):
                raise FailedError(f"on {net.label} predicting writes into its input")
            if modes := [name for name, module in rule.named_modules() if module.training]:
                named = listed([name or "the rule" for name in modes])
                raise FailedError(f"on {net.label} predicting puts {named} into training mode")
            if first.shape != (len(x), CLASSES):
                raise FailedError(
                    f"on {net.label} logits have shape {tuple(first.shape)}, "
                    f"not {(len(x), CLASSES)}"
                )
            if not torch.equal(first, rule.predict(x)):
                raise FailedError(f"on {net.label} a second prediction differs from the first")
            alone = torch.cat([rule.predict(row[None]) for row in x])
        gap = (alone - first).abs().max().item() / max(first.abs().max().item(), 1e-12)
        if not gap <= TOLERANCE:
            raise FailedError(
                f"on {net.label} an example's logits differ by {gap:.2g} of the largest when it "
                "is predicted alone and in a batch"
            )


def state_restores_predictions(subject: Subject) -> None:
    """Check that state_dict loads without pickled code, and gives another instance equal logits."""
    for net in subject.nets:
        rule = subject.build(net)
        batch, *_ = batches = toy()
        train(rule, batches)
        buffer = io.BytesIO()
        torch.save(rule.state_dict(), buffer)
        buffer.seek(0)
        try:
            state = torch.load(buffer, weights_only=True)
        except Exception as error:
            raise FailedError(
                f"loading its state needs pickled code ({type(error).__name__} without)"
            ) from error
        other = subject.build(net, seed=1)
        other.load_state_dict(state)
        if not torch.equal(logits(rule, batch.x), logits(other, batch.x)):
            raise FailedError(
                f"on {net.label} a rule of another seed that loads its state has other logits; "
                "keep everything that predict uses in parameters and buffers"
            )


def labels_unused_at_prediction(subject: Subject) -> None:
    """Check that predictions with equal weights do not depend on the labels of the last batch."""
    for net in subject.nets:
        *early, last = toy()
        rule, other = subject.build(net), subject.build(net)
        train(rule, [*early, last])
        train(other, [*early, Batch(last.x, (last.target + 1) % CLASSES)])
        other.load_state_dict(weights(rule))
        if not torch.equal(logits(rule, last.x), logits(other, last.x)):
            raise FailedError(
                f"on {net.label} predictions with equal weights depend on the labels of the last "
                "batch"
            )
