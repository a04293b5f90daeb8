"""What came of a study: cells with their runs, searches with their trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lbench.store.rows import CellRow, RunRow
from lbench.study.definition import Domain, Point, Study


@dataclass(frozen=True, slots=True)
class Trial:
    """What a search asked for.

    Args:
        number: in its search, from 0.
        state: ``complete``, ``pruned``, ``fail``, or ``running`` while it has not ended.
        params: the suggested settings.
        values: of the objectives; None unless complete.
        intermediate: validation error by epoch, as far as it came.
        reason: why it was pruned or failed; None otherwise.
        defaults: whether its settings are the defaults.
        cell: fingerprint; None when nothing was trained.
        runs: of its seeds; empty when nothing was trained.
        began: Unix time, seconds.
        ended: likewise; None while it has not.
    """

    number: int
    state: str
    params: Mapping[str, Any]
    values: tuple[float, ...] | None
    intermediate: Mapping[int, float] = field(default_factory=dict)
    reason: str | None = None
    cell: str | None = None
    runs: Sequence[RunRow] = ()
    began: float | None = None
    ended: float | None = None
    defaults: bool = False


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A search at a point.

    Args:
        point: where.
        name: of the study in Optuna's storage.
        space: what was searched, by setting.
        objectives: what was minimised.
        wanted: how many trials it shall have.
        trials: by number.
        best: lowest first objective; of several objectives the one of the front that has it.
        indistinguishable: complete trials that McNemar's test on the validation examples cannot
            tell apart from the best, which is one of them.
        front: Pareto-optimal trials; with one objective all that have its lowest value.
        validation: how many validation examples there are.
        importances: of the settings, fractions that sum to 1; empty where too few trials ended.
        defaults: the defaults, trained with the seeds of the final runs; None where they were not,
            as in a search that chose them.
    """

    point: Point
    name: str
    space: Mapping[str, Domain]
    objectives: Sequence[str]
    wanted: int
    trials: Sequence[Trial]
    best: Trial | None
    indistinguishable: Sequence[Trial]
    front: Sequence[Trial]
    validation: int | None = None
    importances: Mapping[str, float] = field(default_factory=dict)
    defaults: Final | None = None

    @property
    def runs(self) -> list[RunRow]:
        """The runs of all trials, and of the defaults with the seeds of the final runs."""
        found = [run for trial in self.trials for run in trial.runs]
        return found if self.defaults is None else [*found, *self.defaults.runs]

    @property
    def ended(self) -> int:
        """How many trials have ended."""
        return sum(trial.state != "running" for trial in self.trials)


@dataclass(frozen=True, slots=True)
class Final:
    """A cell of the table.

    Args:
        point: where.
        chosen: what the search chose there; empty without one.
        cell: its row in the record.
        runs: the latest attempt of each seed, the unfinished among them.
    """

    point: Point
    chosen: Mapping[str, Any]
    cell: CellRow
    runs: Sequence[RunRow]


@dataclass(frozen=True, slots=True)
class Results:
    """All that a report is made from.

    Args:
        study: the question.
        finals: in the order of the plan.
        searches: likewise.
        missing: points that nothing has been trained at.
        datasets: that were asked for and are not there, with the reason.
        command: makes it again.
        older: how many points belong to what the study's file asked for before.
        untrainable: why nothing could be trained at a point the last time, by its key.
        missing_files: sentences on files that are missing although runs of the study are there.
    """

    study: Study
    finals: Sequence[Final]
    searches: Sequence[SearchResult]
    missing: Sequence[Point] = ()
    datasets: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    older: int = 0
    untrainable: Mapping[str, str] = field(default_factory=dict)
    missing_files: Sequence[str] = ()

    @property
    def margin(self) -> float | None:
        """Points within which two errors count as equal, as stated in advance; None for none."""
        return self.study.margin

    @property
    def ended(self) -> bool:
        """Whether there is something to report: a run of the table has ended, or none can be."""
        runs = [run.status for final in self.finals for run in final.runs]
        over = [s for s in self.searches if s.best is None and 0 < s.wanted <= s.ended]
        return bool(self.untrainable or over or set(runs) & {"finished", "diverged", "failed"})
