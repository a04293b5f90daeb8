"""Checks of a rule's training: it trains all parameters, is repeatable, and reports failures."""

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
    """Check that after three steps equal seeds give equal weights, and other seeds others."""
    for net in subject.nets:
        states = []
        for seed in (0, 0, 1):
            rule = subject.build(net, seed)
            train(rule, toy(), seed)
            states.append(weights(rule))
        if names := differing(states[0], states[1]):
            raise FailedError(f"on {net.label} the same seed gives another {listed(names)}")
        if not differing(states[0], states[2]):
            raise FailedError(f"on {net.label} two seeds give the same weights")


def global_randomness_unused(subject: Subject) -> None:
    """Check that the rule neither draws from global generators nor depends on their seeds."""
    for net in subject.nets:
        states, touched = [], set[str]()
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
            states.append(weights(rule))
        if names := differing(*states):
            raise FailedError(
                f"on {net.label} {listed(names)} depends on the seed of a global generator, or "
                "differs from run to run"
            )


def every_parameter_moves(subject: Subject) -> None:
    """Check that every trained parameter changes within a few steps of the phase that trains it."""
    for net in subject.nets:
        rule = subject.build(net)
        before = weights(rule)
        train(rule, toy((12,) * 5))
        trained = {name for group in rule.groups() for name in group.params}
        unchanged = trained - set(differing(before, weights(rule)))
        if unchanged:
            raise FailedError(
                f"on {net.label} training does not change {listed(sorted(unchanged))}"
            )


def nan_reported(subject: Subject) -> str:
    """Check that after a NaN in the input this or the next step raises or logs a NaN loss."""
    for net in subject.nets:
        first, second, _ = toy()
        first.x[0, 0, 0, 0] = float("nan")
        rule = subject.build(net)
        try:
            losses = train(rule, [first, second])
        except FailedError:
            raise
        except Exception as error:  # the run would end as failed, which is reported too
            return f"raises {type(error).__name__}"
        if torch.isfinite(losses).all():
            raise FailedError(
                f"on {net.label} the losses after a NaN are {_text(losses)}, so that a diverged "
                "run would not be reported"
            )
    return "logs NaN"


def small_batches(subject: Subject) -> None:
    """Check that batches of one example and short last batches leave weights and logits finite."""
    for net in subject.nets:
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
