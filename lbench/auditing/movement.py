"""Whether the signals of a layer moved, and in how many directions."""

from __future__ import annotations

import torch
from torch import Tensor

from lbench.auditing.maps import Map
from lbench.auditing.perturbation import Reference
from lbench.auditing.subject import Signals, moved

MOVED = 1e-12
"""Relative; what does not come through the transpose is equal bit by bit."""
RANK = 1e-6
"""Relative to the largest singular value: smaller ones are rounding."""


def signalled(signals: Signals, m: Map) -> bool:
    """Return whether a layer got a signal in a step."""
    return any(name in signals for name in m.params)


def nonzero(signals: Signals, m: Map) -> bool:
    """Return whether a layer got a signal other than 0 in a step."""
    return signalled(signals, m) and bool(flat(signals, m).any())


def first_moved(looks: list[list[Signals]], reference: list[Signals], m: Map) -> int | None:
    """The first step at which the layer's signal moved."""
    for index, want in enumerate(reference):
        for look in looks:
            if index >= len(look) or not any(
                moved(want.get(n), look[index].get(n)) for n in m.params
            ):
                continue
            was, got = flat(want, m), flat(look[index], m)
            noise = MOVED * size_of(want, m) + rounding_of(want, m) + rounding_of(look[index], m)
            if got.shape != was.shape or not bool((got - was).norm() <= noise):
                return index
    return None


def update_moved(looks: list[list[Signals]], reference: list[Signals], m: Map) -> bool:
    """Whether optimizers took something else from a layer."""
    for index, want in enumerate(reference):
        for name in m.params:
            change, rounding = want.updates.get(name, (None, 0.0))
            for look in looks:
                other, more = look[index].updates.get(name, (None, 0.0))
                if change is None or other is None:
                    continue
                noise = MOVED * float(change.norm()) + rounding + more
                if not bool((change - other).norm() <= noise):
                    return True
    return False


def count_directions(looks: list[list[Signals]], m: Map, reference: Reference, index: int) -> int:
    """How many directions the layer's signal moved in at one step."""
    want = flat(reference.signals[index], m)
    got = [flat(look[index], m) for look in looks]
    if any(each.shape != want.shape or not bool(torch.isfinite(each).all()) for each in got):
        return len(looks)
    rounding = max(rounding_of(signals[index], m) for signals in (reference.signals, *looks))
    size = size_of(reference.signals[index], m)
    return rank(torch.stack(got) - want, MOVED * size + 2 * rounding)


def rank(rows: Tensor, noise: float) -> int:
    """The rank of (looks, …) movements; a row of norm ``noise`` or less is none."""
    norms = rows.norm(dim=1)
    loud = norms > noise
    if not bool(loud.any()):
        return 0
    # The products of the rows of norm 1 have the squares of their singular values.
    products = (rows @ rows.T)[loud][:, loud] / torch.outer(norms[loud], norms[loud])
    sizes = torch.linalg.eigvalsh(products)
    return int((sizes > RANK**2 * sizes[-1]).sum())


def flat(signals: Signals, m: Map) -> Tensor:
    """All signals of a layer in a step, in one vector."""
    told = [each.flatten() for name in m.params for each in signals.get(name, [])]
    if len(told) == 1:
        return told[0]
    return torch.cat(told) if told else torch.zeros(0, dtype=torch.float64)


def size_of(signals: Signals, m: Map) -> float:
    """The norm of a layer's signals; of all signals where it is a gain or a bias alone.

    In front of a normalisation these may have no gradient but rounding errors.
    """
    if m.weights:
        return float(flat(signals, m).norm())
    return max((float(t.norm()) for told in signals.values() for t in told), default=0.0)


def rounding_of(signals: Signals, m: Map) -> float:
    """The norm that rounding alone may give the signals of a layer."""
    return sum(signals.rounding.get(name, 0.0) for name in m.params)
