"""A layer's own weights in its update, as weight decay has them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lbench.auditing.subject import Signals


def without_decay(signals: Signals, plain: Signals, changes: Mapping[str, Tensor]) -> None:
    """Put back the signals of changed weights that moved as weight decay moves them.

    Only a layer that a step applies to its own output has a transpose that reaches its own
    update; what else its update does with its own weights is local.

    Args:
        signals: of a step with changed weights.
        plain: of the same step without the changes.
        changes: what was added to each weight, by name; no entry is 0.
    """
    for name, by in changes.items():
        pairs = zip(signals.get(name, []), plain.get(name, []), strict=False)
        for place, (here, there) in enumerate(pairs):
            same = here.shape == there.shape == by.shape and by.dim() > 1
            if same and decays(here - there, by, there):
                signals[name][place] = there


def decays(movement: Tensor, by: Tensor, signal: Tensor) -> bool:
    """Whether each number of a signal moved with its own weight, as in decay or Oja's rule.

    The factor may be another one for each output (the first dimension) or for each input. Weights
    that are set to a constant, as on a diagonal or under a mask, move by all of their change, the
    others by nothing. A transpose mixes the changes of many weights.

    Args:
        movement: of the signal.
        by: what was added to the weight; no entry is 0.
        signal: as it was, for its rounding.
    """
    noise = 1e-10 * movement.norm() + 1e-14 * signal.norm()
    for one, two in ((movement, by), (movement.transpose(0, 1), by.transpose(0, 1))):
        one, two = one.flatten(1), two.flatten(1)
        factor = (one * two).sum(1, keepdim=True) / two.square().sum(1, keepdim=True)
        if bool((one - factor * two).norm() <= noise):
            return True
    constant = (movement - by).abs() < movement.abs()
    return bool((movement - constant * by).norm() <= noise)
