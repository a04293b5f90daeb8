"""The plan of a study: its points with their configurations, search spaces and budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lbench.studies.definition import Domain, Point, Study, UntrainablePoint
from lbench.studies.space import trial_count
from lbench.training.resolve import Resolved


@dataclass(frozen=True, slots=True)
class ExampleBudget:
    """Budget of runs in training examples, counted once per epoch in which they are used.

    Args:
        trial: examples of a trial's run, which holds out validation examples.
        final: examples of a final run.
    """

    trial: int
    final: int


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """The points of a study and what is run at each.

    Args:
        study: the study, with the changes of the command line.
        points: points in order.
        spaces: search space at each point, by its key.
        resolved: configuration at each point before its search, by key; its step is timed.
        absent: datasets of the study that are left out, with the reason.
        budgets: budgets of runs with as many operations as a run of ``bp``, by the point's key.
        untrainable: points that cannot be trained; ``points`` does not contain them.
        notes: sentences on options that are not searched because they cannot act.
    """

    study: Study
    points: Sequence[Point]
    spaces: Mapping[str, Mapping[str, Domain]]
    resolved: Mapping[str, Resolved]
    absent: Mapping[str, str] = field(default_factory=dict)
    budgets: Mapping[str, ExampleBudget] = field(default_factory=dict)
    untrainable: Sequence[UntrainablePoint] = ()
    notes: Sequence[str] = ()

    @property
    def trials(self) -> int:
        """Return the number of trials of all searches."""
        search = self.study.search
        return sum(trial_count(search, space) for space in self.spaces.values()) if search else 0

    @property
    def finals(self) -> int:
        """Return the number of final runs."""
        return self.study.seeds * len(self.points)

    @property
    def references(self) -> int:
        """Return the number of runs of the defaults, with which each search is compared."""
        return self.finals if self.study.search else 0
