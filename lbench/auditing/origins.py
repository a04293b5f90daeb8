"""What the tensors of a step were computed from."""

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
        params: names of the trained parameters, of a tensor that was computed from no data.
        data: whether it was computed from the batch.
        target: whether it was computed from the batch's labels, or is a gradient.
        noise: whether it was drawn at random.
        uses: bit ``k`` is set where use ``k`` of the step is among what it was computed from.
        scaled: names of parameters that it has data multiplied with, spread over them element by
            element and not summed yet.
        shifted: the same of parameters that data were added to or compared with.
        repeated: whether it has data several times over.
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
        """Whether it was computed from trained parameters alone."""
        return bool(self.params) and not self.data


CONSTANT = Origin()
INPUT = Origin(data=True)
TARGET = Origin(data=True, target=True)


def weighted(given: Sequence[tuple[Tensor, Origin]]) -> bool:
    """Whether trained parameters are combined with data."""
    if any(o.scaled or o.shifted for _, o in given):
        return True
    return any(o.data for _, o in given) and any(o.weight for _, o in given)


def spread(
    name: str, given: Sequence[tuple[Tensor, Origin]], matrices: Collection[str]
) -> frozenset[str]:
    """The parameters that an elementwise function spreads data over.

    It combines each number of the data with several weights, or data with a row of a matrix.
    Together with a sum that follows this is what a matrix does. What combines each number with a
    weight of its own, as a gain does, spreads nothing.

    Args:
        name: of the function.
        given: its arguments.
        matrices: names of parameters of two or more dimensions.
    """
    if name not in SCALES and name not in SHIFTS:
        return frozenset()
    data = [(t, o) for t, o in given if o.data and t.numel() > 1]
    found = frozenset[str]()
    for weight, own in [(t, o) for t, o in given if o.weight]:
        row = weight.dim() == 1 and weight.numel() > 1 and not own.params.isdisjoint(matrices)
        for t, origin in data:
            scales = name in SCALES and (row or (origin.repeated and weight.dim() > 1))
            if scales or _expands(t, weight):
                found |= own.params
    return found


def _expands(t: Tensor, weight: Tensor) -> bool:
    """Whether broadcasting repeats a tensor along an axis of a matrix."""
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
    """The parameters that data were spread over and are summed over now.

    Args:
        name: of the function; what adds products to each other, one after the other, sums too.
        joins: whether a function contracts several tensors. With weights of its own it is a layer
            behind the spread data; then they are found nowhere.
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
