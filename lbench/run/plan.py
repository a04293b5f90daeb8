"""Plan: the steps of a run, by epoch and phase."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from lbench.step import Phase


@dataclass(frozen=True, slots=True)
class Plan:
    """Where each step stands.

    Args:
        steps: of the whole run.
        per_epoch: steps of an epoch, the longest of a sequence.
        phases: with the first step and the number of steps of each.
        starts: the first step of each epoch of a sequence; else epochs are equally long.
    """

    steps: int
    per_epoch: int
    phases: tuple[tuple[Phase, int, int], ...]
    starts: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        examples: int | Sequence[int],
        batch: int,
        epochs: int | None,
        budget: int | None,
        phases: Sequence[Phase],
    ) -> Plan:
        """A plan for ``epochs``, or for a ``budget`` in examples.

        Args:
            examples: of an epoch, or of each task of a sequence, which has ``epochs`` of each.
        """
        sizes = [examples] if isinstance(examples, int) else list(examples)
        lengths = [-(-size // batch) for size in sizes]
        per_epoch = max(lengths)
        starts: list[int] = []
        if len(sizes) > 1:
            each = [length for length in lengths for _ in range(epochs or 1)]
            *starts, steps = itertools.accumulate(each, initial=0)
        elif epochs is not None:
            steps = per_epoch * epochs
        else:
            # An epoch's last batch may be short: what is left of the budget counts in examples.
            whole, rest = divmod(budget or 0, sizes[0])
            steps = whole * per_epoch - (-rest // batch)
        total = sum(phase.share for phase in phases)
        placed, start, share = [], 0, 0.0
        for phase in phases:
            share += phase.share
            stop = round(steps * share / total)
            placed.append((phase, start, stop - start))
            start = stop
        return cls(steps, per_epoch, tuple(placed), tuple(starts))

    def place(self, step: int) -> tuple[int, int]:
        """The epoch of a step, and its position there."""
        if not self.starts:
            return divmod(step, self.per_epoch)
        epoch = bisect_right(self.starts, step) - 1
        return epoch, step - self.starts[epoch]

    def count(self, epoch: int) -> int:
        """The steps of an epoch, as far as the plan goes."""
        if not self.starts:
            return min(self.per_epoch, self.steps - epoch * self.per_epoch)
        return (*self.starts, self.steps)[epoch + 1] - self.starts[epoch]

    def end(self, epoch: int) -> int:
        """The last step of an epoch, as far as the plan goes."""
        start = self.starts[epoch] if self.starts else epoch * self.per_epoch
        return start + self.count(epoch) - 1

    @property
    def typical(self) -> int:
        """Steps of an epoch, by which progress is told."""
        return -(-self.steps // len(self.starts)) if self.starts else self.per_epoch

    def phase(self, step: int) -> tuple[Phase, int, int]:
        """The phase of a step, its first step and its number of steps."""
        for phase, start, count in self.phases:
            if step < start + count:
                return phase, start, count
        return self.phases[-1]
