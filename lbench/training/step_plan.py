"""The steps of a run, by epoch and phase."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from lbench.step import Phase


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The epoch and phase of each step of a run; steps and epochs count from 0.

    Args:
        steps: steps of the whole run.
        per_epoch: steps per epoch; of a sequence of tasks those of the longest epoch.
        phases: each phase with its first step and its number of steps.
        starts: first step of each epoch of a sequence; empty where epochs are equally long.
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
    ) -> StepPlan:
        """Return the plan for ``epochs``, or for a ``budget`` in examples.

        Args:
            examples: examples per epoch; for a sequence the examples of each task, which is
                trained for ``epochs``.
            batch: examples per batch.
            epochs: number of epochs; None if the budget is in examples.
            budget: number of examples; None if the budget is in epochs.
            phases: phases of the rule, with their shares of the steps.
        """
        sizes = [examples] if isinstance(examples, int) else list(examples)
        lengths = [-(-size // batch) for size in sizes]
        per_epoch = max(lengths)
        starts: list[int] = []
        if len(sizes) > 1:
            epoch_lengths = [length for length in lengths for _ in range(epochs or 1)]
            *starts, steps = itertools.accumulate(epoch_lengths, initial=0)
        elif epochs is not None:
            steps = per_epoch * epochs
        else:
            # An epoch's last batch may be short, so the budget is counted in examples.
            whole, rest = divmod(budget or 0, sizes[0])
            steps = whole * per_epoch - (-rest // batch)
        total = sum(phase.share for phase in phases)
        spans, start, share = [], 0, 0.0
        for phase in phases:
            share += phase.share
            stop = round(steps * share / total)
            spans.append((phase, start, stop - start))
            start = stop
        return cls(steps, per_epoch, tuple(spans), tuple(starts))

    def locate(self, step: int) -> tuple[int, int]:
        """Return the epoch of a step and its position in the epoch."""
        if not self.starts:
            return divmod(step, self.per_epoch)
        epoch = bisect_right(self.starts, step) - 1
        return epoch, step - self.starts[epoch]

    def count(self, epoch: int) -> int:
        """Return the number of steps of an epoch, which the end of the plan may cut short."""
        if not self.starts:
            return min(self.per_epoch, self.steps - epoch * self.per_epoch)
        return (*self.starts, self.steps)[epoch + 1] - self.starts[epoch]

    def end(self, epoch: int) -> int:
        """Return the last step of an epoch, which the end of the plan may cut short."""
        start = self.starts[epoch] if self.starts else epoch * self.per_epoch
        return start + self.count(epoch) - 1

    @property
    def typical(self) -> int:
        """Return the mean steps per epoch of a sequence, else the steps of an epoch."""
        return -(-self.steps // len(self.starts)) if self.starts else self.per_epoch

    def phase(self, step: int) -> tuple[Phase, int, int]:
        """Return the phase of a step, the phase's first step and its number of steps."""
        for phase, start, count in self.phases:
            if step < start + count:
                return phase, start, count
        return self.phases[-1]
