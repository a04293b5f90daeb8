"""Checks of a rule's training: that it learns, is repeatable, and tells when it fails."""

from __future__ import annotations

import torch

from lbench.auditing.generators import seeded
from lbench.testing.subject import (
    FailedError,
    Subject,
    differing,
    listed,
    logits,
    toy,
    train,
    weights,
)


def same_seed_same_weights(subject: Subject) -> None:
    """The same seed gives the same weights after three steps, another seed gives others."""
    for net in subject.places:
        found = []
        for seed in (0, 0, 1):
            rule = subject.build(net, seed)
            train(rule, toy(), seed)
            found.append(weights(rule))
        if names := differing(found[0], found[1]):
            raise FailedError(f"on {net.label} the same seed gives another {listed(names)}")
        if not differing(found[0], found[2]):
            raise FailedError(f"on {net.label} two seeds give the same weights")


def global_randomness_unused(subject: Subject) -> None:
    """The global generators of torch, NumPy and random are not advanced, and change nothing."""
    for net in subject.places:
        found, touched = [], set[str]()
        for seed in (1, 2):
            with seeded(seed, touched):
                rule = subject.build(net)
                train(rule, toy())
                logits(rule, toy()[0].x)
            if touched:
                raise FailedError(
                    f"on {net.label} it draws from the global generator of "
                    f"{', '.join(sorted(touched))}; s.noise and init are addressed by the run's "
                    "seed"
                )
            found.append(weights(rule))
        if names := differing(*found):
            raise FailedError(
                f"on {net.label} {listed(names)} depends on the seed of a global generator, or "
                "differs from run to run"
            )


def every_parameter_moves(subject: Subject) -> None:
    """Every trained parameter changes within a few steps of the phase that trains it."""
    for net in subject.places:
        rule = subject.build(net)
        before = weights(rule)
        train(rule, toy((12,) * 5))
        trained = {name for group in rule.groups() for name in group.params}
        still = trained - set(differing(before, weights(rule)))
        if still:
            raise FailedError(f"on {net.label} nothing moves {listed(sorted(still))}")


def nan_reported(subject: Subject) -> str:
    """A NaN in the input makes the logged loss NaN, in that step or the next, or is an error."""
    for net in subject.places:
        first, second, _ = toy()
        first.x[0, 0, 0, 0] = float("nan")
        rule = subject.build(net)
        try:
            losses = train(rule, [first, second])
        except FailedError:
            raise
        except Exception as error:  # the run would end as failed, which is told too
            return f"ends as {type(error).__name__}"
        if torch.isfinite(losses).all():
            raise FailedError(
                f"on {net.label} the losses after a NaN are {_text(losses)}: that the "
                "run has diverged would not be told"
            )
    return "ends as diverged"


def small_batches(subject: Subject) -> None:
    """A batch of one example, and a last one that is short, leave finite weights and logits."""
    for net in subject.places:
        rule = subject.build(net)
        losses = train(rule, toy((12, 1, 5)))
        if not torch.isfinite(losses).all():
            raise FailedError(f"on {net.label} batches of 12, 1 and 5 have losses {_text(losses)}")
        for name, value in weights(rule).items():
            if isinstance(value, torch.Tensor) and not torch.isfinite(value).all():
                raise FailedError(f"on {net.label} {name} is not finite after a batch of 1")
        if not torch.isfinite(logits(rule, toy((1,))[0].x)).all():
            raise FailedError(f"on {net.label} the logits of one example are not finite")


def _text(losses: torch.Tensor) -> str:
    return ", ".join(f"{loss:g}" for loss in losses.tolist())
