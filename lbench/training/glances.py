"""Glances: short audits of some steps of a run, on copies of its rule."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import torch

from lbench.auditing.glance import Glance, glance
from lbench.auditing.schedule import StepPosition
from lbench.randomness import Randomness
from lbench.rule import Rule
from lbench.step import Phase
from lbench.task import Batch
from lbench.training.step_plan import StepPlan

SHARE = 0.02
"""Share of a run's steps that all glances together may cost, except for ``LEAST`` glances."""
COST = 9
"""Cost of a glance in steps, on a multilayer perceptron with some 100,000 weights."""
LEAST = 4
"""Glances at a run of few steps."""
MOST = 200
"""Largest number of glances: a result lists each of them."""
PERIODS = 60
"""Successive glances have all residues modulo each period that divides this number."""


def glance_steps(plan: StepPlan, seed: int) -> frozenset[int]:
    """Choose the steps of a run that get a glance, counted from 0.

    Some are fixed: the first step of the run and of each phase, the last step of the first epoch
    and of the run, and the first step of the second epoch. The others, as many as ``SHARE``
    allows, are drawn, one from each of equal parts of the run.

    Args:
        plan: steps of the run.
        seed: seed of the run, which addresses the draws.
    """
    steps = plan.steps
    if not steps:
        return frozenset()
    generator = Randomness(seed).generator("audit/steps")

    def draw(stop: int) -> int:
        return int(torch.randint(stop, (), generator=generator))

    end = plan.end(0)
    chosen = {0, end, min(end + 1, steps - 1), steps - 1}
    chosen |= {start for _, start, count in plan.phases if count}
    glances = min(steps, MOST, max(LEAST, int(SHARE * steps / COST)))
    more = glances - len(chosen)  # not positive if the fixed ones are as many
    first = draw(PERIODS)
    for part in range(more):
        low, high = part * steps // more, (part + 1) * steps // more
        chosen.add(_with_residue(first + part, low, high, draw))
    return frozenset(chosen)


def _with_residue(residue: int, low: int, high: int, draw: Callable[[int], int]) -> int:
    """Draw a number from low to high - 1, with this residue modulo ``PERIODS`` if possible."""
    least = low + (residue - low) % PERIODS
    if least >= high:
        return low + draw(high - low)
    return least + PERIODS * draw(1 + (high - 1 - least) // PERIODS)


class Glances:
    """The glances at some steps of a run.

    Args:
        steps: the steps that get a glance, counted from 0.
        seed: seed of the run.
        opened: files of the dataset that the rule's code has opened; others may append to it.
    """

    def __init__(self, steps: Collection[int], seed: int, opened: list[str] | None = None) -> None:
        self.seed = seed
        self.opened = [] if opened is None else opened
        self.results: list[Glance] = []
        self._steps = frozenset(steps)

    def due(self, index: int) -> bool:
        """Return whether the step gets a glance that has not been made yet."""
        return index in self._steps and all(index != result.step for result in self.results)

    def add(
        self,
        rule: Rule,
        batch: Batch,
        position: StepPosition,
        phase: Phase,
        note: Callable[[str], None],
    ) -> None:
        """Audit one step on a copy of the rule, or note that it cannot be copied or run twice.

        Args:
            batch: the batch before the rule prepares it.
            position: position of the step in the run.
        """
        try:
            self.results.append(glance(rule, batch, position, phase, self.seed))
        except Exception as error:
            note(f"Step {position.index + 1} was not audited: {type(error).__name__}: {error}")

    def as_list(self) -> list[dict[str, Any]]:
        """Return the glances in the form that checkpoints and results store."""
        return [
            {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(result).items()}
            for result in self.results
        ]

    def restore(self, stored: Iterable[Mapping[str, Any]], opened: Iterable[str]) -> None:
        """Restore the glances of an earlier process; their steps get no second one."""
        self.results = [_glance(entry) for entry in stored]
        self.opened += [name for name in opened if name not in self.opened]


def _glance(stored: Mapping[str, Any]) -> Glance:
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in stored.items()}
    return Glance(**values)
