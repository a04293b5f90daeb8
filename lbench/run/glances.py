"""Looks at some steps of a run, on copies of its rule: the short form of the audit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import torch

from lbench.auditing.glance import Glance, glance
from lbench.auditing.schedule import StepPosition
from lbench.randomness import Randomness
from lbench.rule import Rule
from lbench.run.plan import Plan
from lbench.step import Phase
from lbench.task import Batch

SHARE = 0.02
"""Of the steps of a run, what all looks may cost together, but for ``LEAST`` looks."""
COST = 9
"""Steps that a look takes as long as, on a multilayer perceptron with some 100,000 weights."""
LEAST = 4
"""Looks at a run of few steps."""
MOST = 200
"""Looks at most: a result lists each of them."""
PERIODS = 60
"""Looks that follow each other have all residues of a period that divides this."""


def planned(plan: Plan, seed: int) -> frozenset[int]:
    """Decide which steps of a run are looked at, from 0.

    Some are fixed: the first step of the run and of each of its phases, the last one of the first
    epoch and of the run, and the first one of the second epoch. The others, as
    many as ``SHARE`` allows, are drawn, one from each of equal parts of the run.

    Args:
        plan: of the run.
        seed: of the run, which addresses the draws.
    """
    steps = plan.steps
    if not steps:
        return frozenset()
    generator = Randomness(seed).generator("audit/steps")

    def draw(stop: int) -> int:
        return int(torch.randint(stop, (), generator=generator))

    end = plan.end(0)
    at = {0, end, min(end + 1, steps - 1), steps - 1}
    at |= {start for _, start, count in plan.phases if count}
    looks = min(steps, MOST, max(LEAST, int(SHARE * steps / COST)))
    more = looks - len(at)
    first = draw(PERIODS)
    for part in range(more):  # none where the fixed ones are as many
        low, high = part * steps // more, (part + 1) * steps // more
        at.add(_with_residue(first + part, low, high, draw))
    return frozenset(at)


def _with_residue(residue: int, low: int, high: int, draw: Callable[[int], int]) -> int:
    """Draw a number from low to high - 1, of that residue modulo ``PERIODS`` if there is one."""
    least = low + (residue - low) % PERIODS
    if least >= high:
        return low + draw(high - low)
    return least + PERIODS * draw(1 + (high - 1 - least) // PERIODS)


class Glances:
    """What was seen at some steps of a run.

    Args:
        at: the steps to look at, from 0.
        seed: of the run.
        opened: files of the dataset that the rule's code has opened; others may append to it.
    """

    def __init__(self, at: Collection[int], seed: int, opened: list[str] | None = None) -> None:
        self.seed = seed
        self.opened = [] if opened is None else opened
        self.found: list[Glance] = []
        self._at = frozenset(at)

    def due(self, index: int) -> bool:
        """Whether the step is to be looked at before it is made."""
        return index in self._at and all(index != each.step for each in self.found)

    def look(
        self,
        rule: Rule,
        batch: Batch,
        position: StepPosition,
        phase: Phase,
        note: Callable[[str], None],
    ) -> None:
        """Looks at one step; what cannot be copied or run twice is told, and no more.

        Args:
            batch: before the rule prepares it.
            position: of the step in the run.
        """
        try:
            self.found.append(glance(rule, batch, position, phase, self.seed))
        except Exception as error:
            note(f"Step {position.index + 1} was not audited: {type(error).__name__}: {error}")

    def as_list(self) -> list[dict[str, Any]]:
        """As checkpoints and results keep them."""
        return [
            {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(each).items()}
            for each in self.found
        ]

    def restore(self, kept: Iterable[Mapping[str, Any]], opened: Iterable[str]) -> None:
        """Takes what an earlier process saw; these steps are not looked at again."""
        self.found = [_glance(each) for each in kept]
        self.opened += [name for name in opened if name not in self.opened]


def _glance(kept: Mapping[str, Any]) -> Glance:
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in kept.items()}
    return Glance(**values)
