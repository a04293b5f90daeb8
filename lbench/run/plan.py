"""Plan: the steps of a run, by epoch and phase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lbench.step import Phase


@dataclass(frozen=True, slots=True)
class Plan:
    """Where each step stands.

    Args:
        steps: of the whole run.
        per_epoch: steps of an epoch.
        phases: with the first step and the number of steps of each.
    """

    steps: int
    per_epoch: int
    phases: tuple[tuple[Phase, int, int], ...]

    @classmethod
    def of(
        cls,
        examples: int,
        batch: int,
        epochs: int | None,
        budget: int | None,
        phases: Sequence[Phase],
    ) -> Plan:
        """A plan for ``epochs``, or for a ``budget`` in examples."""
        per_epoch = -(-examples // batch)
        if epochs is not None:
            steps = per_epoch * epochs
        else:
            # An epoch's last batch may be short: what is left of the budget counts in examples.
            whole, rest = divmod(budget or 0, examples)
            steps = whole * per_epoch - (-rest // batch)
        total = sum(phase.share for phase in phases)
        placed, start, share = [], 0, 0.0
        for phase in phases:
            share += phase.share
            stop = round(steps * share / total)
            placed.append((phase, start, stop - start))
            start = stop
        return cls(steps, per_epoch, tuple(placed))

    def phase(self, step: int) -> tuple[Phase, int, int]:
        """The phase of a step, its first step and its number of steps."""
        for phase, start, count in self.phases:
            if step < start + count:
                return phase, start, count
        return self.phases[-1]
