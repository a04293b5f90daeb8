"""What a study will do: its points, each with its cell, the space of its search and its budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lbench.run.resolve import Resolved
from lbench.study.definition import Domain, Point, Study, UntrainablePoint
from lbench.study.space import trial_count


@dataclass(frozen=True, slots=True)
class ExampleBudget:
    """In examples that are trained on, repetitions counted.

    Args:
        trial: of a run of a search, which holds validation examples out.
        final: of a run of the table.
    """

    trial: int
    final: int


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What a study will do.

    Args:
        study: with what was changed on the command line.
        points: in order.
        spaces: of the search at each point, by its key.
        resolved: the cell at each point before its search, by key: what is timed.
        absent: datasets of the study that are left out, with the reason.
        budgets: where a run takes as many operations as one of ``bp``, by the point's key.
        untrainable: points that cannot be trained, which are not among ``points``.
    """

    study: Study
    points: Sequence[Point]
    spaces: Mapping[str, Mapping[str, Domain]]
    resolved: Mapping[str, Resolved]
    absent: Mapping[str, str] = field(default_factory=dict)
    budgets: Mapping[str, ExampleBudget] = field(default_factory=dict)
    untrainable: Sequence[UntrainablePoint] = ()

    @property
    def trials(self) -> int:
        """Of all searches."""
        search = self.study.search
        return sum(trial_count(search, space) for space in self.spaces.values()) if search else 0

    @property
    def finals(self) -> int:
        """Runs of the table."""
        return self.study.seeds * len(self.points)

    @property
    def references(self) -> int:
        """Runs of the defaults with the same seeds, which what a search chose is compared with."""
        return self.finals if self.study.search else 0
