"""Results of a study: configurations with their runs, searches with their trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lbench.store.rows import CellRow, RunRow
from lbench.studies.definition import Domain, Point, Study


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial of a search.

    Args:
        number: number in its search, from 0.
        state: ``complete``, ``pruned``, ``fail``, or ``running`` if it has not ended.
        params: the suggested settings.
        values: value of each objective; None unless complete.
        intermediate: validation error in percent by epoch, for the epochs that were trained.
        reason: why it was pruned or failed; None otherwise.
        cell: fingerprint of its configuration; None if nothing was trained.
        runs: runs of its seeds; empty if nothing was trained.
        began: Unix time of its beginning in seconds; None if it has not begun.
        ended: Unix time of its end in seconds; None if it has not ended.
        defaults: whether its settings are the defaults.
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
        point: the point.
        name: name of the search in Optuna's storage.
        space: search space, by setting.
        objectives: quantities that were minimised.
        wanted: planned number of trials.
        trials: trials in order of their numbers.
        best: complete trial with the lowest first objective; None without a complete trial.
        indistinguishable: complete trials that McNemar's test on the validation examples cannot
            tell apart from the best, which is one of them.
        front: Pareto-optimal trials; with one objective all trials with its lowest value.
        validation: number of validation examples; None if no trial stored predictions.
        importances: importance of each setting, a fraction; they sum to 1. Empty if too few
            trials are complete.
        defaults: the defaults, trained with the seeds of the final runs; None if they were not
            trained, as in a search that chose them.
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
        """Return the runs of all trials, and of the defaults with the seeds of the final runs."""
        runs = [run for trial in self.trials for run in trial.runs]
        return runs if self.defaults is None else [*runs, *self.defaults.runs]

    @property
    def ended(self) -> int:
        """Return the number of trials that have ended."""
        return sum(trial.state != "running" for trial in self.trials)


@dataclass(frozen=True, slots=True)
class Final:
    """A configuration with its final runs, a row of the table.

    Args:
        point: the point.
        chosen: settings that the search chose; empty without a search.
        cell: row of the configuration in the record.
        runs: last attempt of each seed, including unfinished ones.
    """

    point: Point
    chosen: Mapping[str, Any]
    cell: CellRow
    runs: Sequence[RunRow]


@dataclass(frozen=True, slots=True)
class StudyData:
    """All data from which a report is made.

    Args:
        study: the study.
        finals: final configurations, in the order of the plan.
        searches: searches, in the order of the plan.
        missing: points without a trained configuration.
        datasets: datasets of the study that were left out, with the reason.
        command: last command line, which continues the study.
        older: number of points that belong to an earlier version of the study's file.
        untrainable: why nothing could be trained at a point at the last attempt, by its key.
        missing_files: sentences on files that are missing although runs of the study exist.
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
        """Return the difference up to which two errors count as equal, in points, or None."""
        return self.study.margin

    @property
    def ended(self) -> bool:
        """Return whether there is something to report: a final run has ended, or none can begin."""
        runs = [run.status for final in self.finals for run in final.runs]
        over = [s for s in self.searches if s.best is None and 0 < s.wanted <= s.ended]
        return bool(self.untrainable or over or set(runs) & {"finished", "diverged", "failed"})
