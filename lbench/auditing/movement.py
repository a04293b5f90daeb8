"""Whether the signals of a layer moved, and in how many directions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lbench.auditing.maps import Map
from lbench.auditing.perturbation import Reference
from lbench.auditing.subject import Signals, moved

MOVED = 1e-12
"""Relative tolerance; what does not come through the transpose is equal in every bit."""
RANK = 1e-6
"""Singular values below this share of the largest one are rounding errors."""


def signalled(signals: Signals, m: Map) -> bool:
    """Return whether a layer got a signal in a step."""
    return any(name in signals for name in m.params)


def nonzero(signals: Signals, m: Map) -> bool:
    """Return whether a layer got a signal other than 0 in a step."""
    return signalled(signals, m) and bool(flat(signals, m).any())


def first_moved(responses: list[list[Signals]], reference: list[Signals], m: Map) -> int | None:
    """Return the first step at which the layer's signal moved; None where it did not move."""
    for index, want in enumerate(reference):
        for response in responses:
            if index >= len(response) or not any(
                moved(want.get(n), response[index].get(n)) for n in m.params
            ):
                continue
            before, after = flat(want, m), flat(response[index], m)
            rounding = rounding_of(want, m) + rounding_of(response[index], m)
            noise = MOVED * size_of(want, m) + rounding
            if after.shape != before.shape or not bool((after - before).norm() <= noise):
                return index
    return None


def update_moved(responses: list[list[Signals]], reference: list[Signals], m: Map) -> bool:
    """Return whether optimizers changed a layer by another amount."""
    for index, want in enumerate(reference):
        for name in m.params:
            change, rounding = want.updates.get(name, (None, 0.0))
            for response in responses:
                other, other_rounding = response[index].updates.get(name, (None, 0.0))
                if change is None or other is None:
                    continue
                noise = MOVED * float(change.norm()) + rounding + other_rounding
                if not bool((change - other).norm() <= noise):
                    return True
    return False


class Span(NamedTuple):
    """The movements of a layer's signal under several changes.

    Args:
        directions: the number of independent directions.
        moved: the number of changes that moved the signal at all.
    """

    directions: int
    moved: int


def span(responses: list[list[Signals]], m: Map, reference: Reference, index: int) -> Span:
    """Return in how many directions the layer's signal moved at one step."""
    want = flat(reference.signals[index], m)
    signals = [flat(response[index], m) for response in responses]
    if any(s.shape != want.shape or not bool(torch.isfinite(s).all()) for s in signals):
        return Span(len(responses), len(responses))
    rounding = max(rounding_of(steps[index], m) for steps in (reference.signals, *responses))
    size = size_of(reference.signals[index], m)
    return rank(torch.stack(signals) - want, MOVED * size + 2 * rounding)


def rank(rows: Tensor, noise: float) -> Span:
    """Return the rank of (responses, entries) movements, without rows of norm ``noise`` or less."""
    norms = rows.norm(dim=1)
    loud = norms > noise
    if not bool(loud.any()):
        return Span(0, 0)
    # The eigenvalues of the Gram matrix of the unit rows are their squared singular values.
    products = (rows @ rows.T)[loud][:, loud] / torch.outer(norms[loud], norms[loud])
    sizes = torch.linalg.eigvalsh(products)
    return Span(int((sizes > RANK**2 * sizes[-1]).sum()), len(sizes))


def flat(signals: Signals, m: Map) -> Tensor:
    """Return all signals of a layer in a step as one vector."""
    vectors = [signal.flatten() for name in m.params for signal in signals.get(name, [])]
    if len(vectors) == 1:
        return vectors[0]
    return torch.cat(vectors) if vectors else torch.zeros(0, dtype=torch.float64)


def size_of(signals: Signals, m: Map) -> float:
    """Return the norm of a layer's signals, or of the largest signal for a gain or bias alone.

    In front of a normalisation, the gradient of a gain or a bias may be nothing but rounding.
    """
    if m.weights:
        return float(flat(signals, m).norm())
    return max((float(t.norm()) for tensors in signals.values() for t in tensors), default=0.0)


def rounding_of(signals: Signals, m: Map) -> float:
    """Return the norm that rounding alone may give the signals of a layer."""
    return sum(signals.rounding.get(name, 0.0) for name in m.params)
