"""Origins of the tensors of a step: what they were computed from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lbench.auditing.functions import SCALES, SHIFTS


@dataclass(frozen=True, slots=True)
class Origin:
    """What a tensor was computed from in this step.

    Args:
        params: names of the trained parameters from which it was computed; empty where data went
            into it too.
        data: whether it was computed from the batch.
        target: whether it was computed from the batch's labels, or is a gradient.
        noise: whether it was drawn at random.
        uses: bit ``k`` is set where it was computed from the result of use ``k`` of the step.
        scaled: names of parameters with which data were multiplied in it, broadcast over them
            element by element and not summed yet.
        shifted: names of parameters to which data were added, or with which data were compared,
            in the same way.
        repeated: whether it contains several copies of the data.
    """

    params: frozenset[str] = frozenset()
    data: bool = False
    target: bool = False
    noise: bool = False
    uses: int = 0
    scaled: frozenset[str] = frozenset()
    shifted: frozenset[str] = frozenset()
    repeated: bool = False

    def __or__(self, other: Origin) -> Origin:
        if other is CONSTANT or other == self:
            return self
        return Origin(
            self.params | other.params,
            self.data or other.data,
            self.target or other.target,
            self.noise or other.noise,
            self.uses | other.uses,
            self.scaled | other.scaled,
            self.shifted | other.shifted,
            self.repeated or other.repeated,
        )

    @property
    def weight(self) -> bool:
        """Return whether it was computed from trained parameters alone."""
        return bool(self.params) and not self.data


CONSTANT = Origin()
INPUT = Origin(data=True)
TARGET = Origin(data=True, target=True)


def weighted(given: Sequence[tuple[Tensor, Origin]]) -> bool:
    """Return whether trained parameters are combined with data."""
    if any(o.scaled or o.shifted for _, o in given):
        return True
    return any(o.data for _, o in given) and any(o.weight for _, o in given)


def spread(
    name: str, given: Sequence[tuple[Tensor, Origin]], matrices: Collection[str]
) -> frozenset[str]:
    """Return the parameters over which an elementwise function spreads data.

    It combines each number of the data with several weights, or data with a row of a matrix.
    Together with a later sum, this is what a matrix product does. A function that combines each
    number with a weight of its own, as a gain does, spreads nothing.

    Args:
        name: name of the function.
        given: its arguments and their origins.
        matrices: names of parameters of two or more dimensions.
    """
    if name not in SCALES and name not in SHIFTS:
        return frozenset()
    data = [(t, o) for t, o in given if o.data and t.numel() > 1]
    params = frozenset[str]()
    for weight, own in [(t, o) for t, o in given if o.weight]:
        row = weight.dim() == 1 and weight.numel() > 1 and not own.params.isdisjoint(matrices)
        for t, origin in data:
            scales = name in SCALES and (row or (origin.repeated and weight.dim() > 1))
            if scales or _expands(t, weight):
                params |= own.params
    return params


def _expands(t: Tensor, weight: Tensor) -> bool:
    """Return whether broadcasting repeats a tensor along an axis of a matrix."""
    if t.layout != torch.strided or weight.layout != torch.strided:
        return False
    varied = {axis for axis in range(1, t.dim() + 1) if t.shape[-axis] > 1 and t.stride(-axis)}
    own = {axis for axis in range(1, weight.dim() + 1) if weight.shape[-axis] > 1}
    return len(own) > 1 and bool(own - varied)


def summed(
    name: str,
    given: Sequence[tuple[Tensor, Origin]],
    outputs: Sequence[Tensor],
    *,
    joins: bool,
) -> frozenset[str]:
    """Return the parameters over which data were spread and which this function sums over.

    Args:
        name: name of the function; additions of several products, one after the other, sum too.
        given: its arguments and their origins.
        outputs: its results.
        joins: whether the function contracts several tensors. If it has weights of its own, it is
            a layer that follows the spread data, and no parameters are returned.
    """
    over = [(t, o) for t, o in given if o.scaled or o.shifted]
    if not over or (joins and any(o.weight for _, o in given)):
        return frozenset()
    adds = name in SHIFTS and sum(o.data and t.numel() > 1 for t, o in given) > 1
    if joins or adds:
        return frozenset[str]().union(*(o.scaled for _, o in over))
    if all(t.numel() < max(t.numel() for t, _ in over) for t in outputs):
        return frozenset[str]().union(*(o.scaled | o.shifted for _, o in over))
    return frozenset()
