"""Positions in a run of the steps of an audit: their index, epoch, and whether they end one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepPosition:
    """The position of a step in its run.

    Args:
        index: number of steps before it in the run.
        epoch: number of epochs before its own.
        last: whether it is the last step of its epoch.
    """

    index: int
    epoch: int = 0
    last: bool = False


FAR = 50
"""Steps between two positions: a multiple of the usual periods of periodic behaviour."""


def position(number: int) -> StepPosition:
    """Return the position, in the run that the audit imitates, of its step of this number, from 0.

    The indices are 0, 49, 50, 100, 150 and so on. What happens every n-th step, for an n that
    divides 50 and counted from 0 or from 1, happens in at least one of the first three steps. So
    does what happens after the first epoch, at the end of an epoch or within one. The first step
    ends an epoch, so that the later steps show what was stored there.
    """
    if number < 2:
        return (StepPosition(0, 0, last=True), StepPosition(FAR - 1, 1))[number]
    return StepPosition(FAR * (number - 1), number - 1, last=number % 2 == 0)
