"""Where in a run the steps of an audit stand: their index, their epoch, the ends of epochs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepPosition:
    """Where a step stands in its run.

    Args:
        index: steps before it in the run.
        epoch: epochs before its own.
        last: it is the last step of its epoch.
    """

    index: int
    epoch: int = 0
    last: bool = False


FAR = 50
"""Steps between two positions: a multiple of the periods at which something usually happens."""


def position(number: int) -> StepPosition:
    """Return where the audit's step of this number, from 0, stands in the run that it imitates.

    The indices are 0, 49, 50, 100, 150 and so on. What happens every n-th step, for an n that
    divides 50 and counted from 0 or from 1, happens among the first three of them, as does what
    happens after the first epoch, at the end of an epoch or within one. The first step ends an
    epoch, so that the steps behind it show what was kept there.
    """
    if number < 2:
        return (StepPosition(0, 0, last=True), StepPosition(FAR - 1, 1))[number]
    return StepPosition(FAR * (number - 1), number - 1, last=number % 2 == 0)
