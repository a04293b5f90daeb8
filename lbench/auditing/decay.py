"""Detect updates that contain the layer's own weights, as weight decay does."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lbench.auditing.subject import Signals


def without_decay(signals: Signals, plain: Signals, changes: Mapping[str, Tensor]) -> None:
    """Restore the signals of changed weights that moved in the way weight decay moves them.

    The transpose of a layer can reach the layer's own update only where a step applies the layer
    to its own output. Any other dependence of an update on the layer's own weights is local.

    Args:
        signals: signals of a step with changed weights; restored in place.
        plain: signals of the same step without the changes.
        changes: what was added to each weight, by name; no entry is 0.
    """
    for name, by in changes.items():
        pairs = zip(signals.get(name, []), plain.get(name, []), strict=False)
        for index, (signal, plain_signal) in enumerate(pairs):
            same = signal.shape == plain_signal.shape == by.shape and by.dim() > 1
            if same and decays(signal - plain_signal, by, plain_signal):
                signals[name][index] = plain_signal


def decays(movement: Tensor, by: Tensor, signal: Tensor) -> bool:
    """Return whether each entry of a signal moved with its own weight, as in decay or Oja's rule.

    The factor may differ between outputs (the first dimension) or between inputs. Weights that
    are set to a constant, as on a diagonal or under a mask, move by exactly their change, and the
    others do not move. A transpose mixes the changes of many weights.

    Args:
        movement: difference of the signal with and without the change.
        by: what was added to the weight; no entry is 0.
        signal: the signal without the change, from which its rounding error is estimated.
    """
    noise = 1e-10 * movement.norm() + 1e-14 * signal.norm()
    for one, two in ((movement, by), (movement.transpose(0, 1), by.transpose(0, 1))):
        one, two = one.flatten(1), two.flatten(1)
        factor = (one * two).sum(1, keepdim=True) / two.square().sum(1, keepdim=True)
        if bool((one - factor * two).norm() <= noise):
            return True
    constant = (movement - by).abs() < movement.abs()
    return bool((movement - constant * by).norm() <= noise)
