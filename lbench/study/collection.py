"""Collects what came of a study from its folder, the record and Optuna's storage."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from lbench.home import Home
from lbench.store.journal import Journal
from lbench.store.missing import check_store
from lbench.store.record import Record
from lbench.store.rows import CellRow, Member, RunRow
from lbench.study.best_trials import indistinguishable_trials
from lbench.study.defaults import best_of, has_defaults, settings_of, values_of
from lbench.study.definition import Study
from lbench.study.ledger import Entry, read_ledger
from lbench.study.missing_files import missing_plan, missing_searches
from lbench.study.results import Final, Results, SearchResult, Trial
from lbench.study.search import REASON, search_digest
from lbench.study.storage import has_storage, reaching, storage

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

ENOUGH = 10
"""Complete trials from which on importances are worth a look."""


def collect_results(study: Study, home: Home) -> Results:
    """What is there of a study; nothing is trained, and nothing is created.

    Raises:
        StoreError: the record or Optuna's storage cannot be used.
        DamagedError: a file of the study's folder is not what lbench wrote.
    """
    ledger = read_ledger(home, study)
    study = ledger.study
    untrainable = {
        entry.point.key: entry.untrainable for entry in ledger.entries if entry.untrainable
    }
    members = list(Journal(home, study.name).read())
    if ledger.entries or members:
        check_store(home)
    if not ledger.entries or not home.has_store():
        points = [entry.point for entry in ledger.entries]
        lacking = missing_plan(home, study.name, members)
        return Results(
            study, (), (), points, ledger.absent, ledger.command, ledger.older, untrainable, lacking
        )
    guarded = reaching(home) if study.search else nullcontext()
    with Record.open(home) as record, guarded:
        # What the journal has untrainable, the record may still know.
        members = [*record.members(study=study.name), *members]
        shelf = _Shelf(record, members)
        known = storage(home) if study.search and has_storage(home) else None
        names = {entry.point.key: entry.search for entry in ledger.entries if entry.search}
        lacking = missing_searches(home, names, known, members)
        searches = [_search(entry, shelf, known) for entry in ledger.entries if entry.search]
        best = {found.point.key: found.best for found in searches}
        finals: list[Final] = []
        missing = []
        for entry in ledger.entries:
            trial = best.get(entry.point.key)
            final = _final(entry, trial, shelf)
            if final is not None:
                finals.append(final)
            else:
                missing.append(entry.point)
    return Results(
        study,
        finals,
        searches,
        missing,
        ledger.absent,
        ledger.command,
        ledger.older,
        untrainable,
        lacking,
    )


class _Shelf:
    """Runs of the record by fingerprint, read a cell at a time."""

    def __init__(self, record: Record, members: Iterable[Member]) -> None:
        self.record = record
        self.members: dict[tuple[str, str, str, int], dict[int, Member]] = defaultdict(dict)
        for member in members:
            places = self.members[member.point, member.search, member.role, member.trial]
            # Of a seed the place that was written last, and last among the seeds.
            places.pop(member.seed, None)
            places[member.seed] = member
        self._known = {row.fingerprint: row for row in record.cells()}
        self._runs: dict[str, Mapping[str, RunRow]] = {}

    def cell(self, fingerprint: str) -> CellRow | None:
        """A cell; None where the record has none, as when a driver died before it wrote there."""
        return self._known.get(fingerprint)

    def runs(self, members: Mapping[int, Member]) -> list[RunRow]:
        """Of these places, by seed."""
        found = []
        for _, member in sorted(members.items()):
            run = self._of(member.cell).get(member.run)
            if run is not None:
                found.append(run)
        return found

    def _of(self, cell: str) -> Mapping[str, RunRow]:
        """The latest attempt of each run of a cell, by the run's fingerprint."""
        if cell not in self._runs:
            row = self._known.get(cell)
            runs = [] if row is None else self.record.runs(row)
            self._runs[cell] = {run.fingerprint: run for run in runs}
        return self._runs[cell]


def _final(entry: Entry, trial: Trial | None, shelf: _Shelf) -> Final | None:
    number = -1 if trial is None else trial.number
    if entry.search and trial is None:
        return None
    chosen = {} if trial is None else trial.params
    return _trained(
        entry, chosen, shelf, (entry.point.key, search_digest(entry.search), "final", number)
    )


def _trained(
    entry: Entry, chosen: Mapping[str, Any], shelf: _Shelf, place: tuple[str, str, str, int]
) -> Final | None:
    """The cell that was trained last at a place, with its runs; None where none was."""
    if not (members := shelf.members.get(place)):
        return None
    newest = list(members.values())[-1].cell
    members = {seed: member for seed, member in members.items() if member.cell == newest}
    cell = shelf.cell(newest)
    if cell is None:
        return None
    return Final(entry.point, chosen, cell, shelf.runs(members))


def _search(entry: Entry, shelf: _Shelf, known: BaseStorage | None) -> SearchResult:
    name = entry.search or ""
    found = _open(name, known)
    frozen = found.get_trials(deepcopy=False) if found is not None else []
    key = (entry.point.key, search_digest(entry.search), "defaults", -1)
    trials = [_trial(entry, each, shelf) for each in frozen if each.state.name != "WAITING"]
    by_number = {trial.number: trial for trial in trials}
    best = best_of(frozen)
    same, validation = indistinguishable_trials(
        trials, None if best is None else by_number[best.number]
    )
    return SearchResult(
        point=entry.point,
        name=name,
        space=entry.space,
        objectives=entry.objectives,
        wanted=entry.wanted,
        trials=trials,
        best=None if best is None else by_number[best.number],
        indistinguishable=same,
        front=_front(trials),
        validation=validation,
        importances={} if found is None else _importances(found, frozen),
        defaults=_trained(entry, {}, shelf, key),
    )


def _front(trials: Sequence[Trial]) -> list[Trial]:
    """Return the complete trials that no other one dominates."""
    complete = [(trial, trial.values) for trial in trials if trial.values is not None]
    return [
        trial
        for trial, mine in complete
        if not any(
            other != mine and all(o <= m for o, m in zip(other, mine, strict=True))
            for _, other in complete
        )
    ]


def _open(name: str, known: BaseStorage | None) -> OptunaStudy | None:
    import optuna

    if known is None:
        return None
    try:
        return optuna.load_study(study_name=name, storage=known)
    except KeyError:
        return None


def _trial(entry: Entry, trial: FrozenTrial, shelf: _Shelf) -> Trial:
    place = (entry.point.key, search_digest(entry.search), "trial", trial.number)
    members = shelf.members.get(place, {})
    runs = shelf.runs(members)
    values = values_of(trial)
    return Trial(
        number=trial.number,
        state=trial.state.name.lower() if values is None else "complete",
        params=settings_of(trial),
        values=None if values is None else tuple(values),
        intermediate=trial.intermediate_values,
        reason=trial.user_attrs.get(REASON),
        cell=runs[0].cell if runs else None,
        runs=runs,
        began=None if trial.datetime_start is None else trial.datetime_start.timestamp(),
        ended=None if trial.datetime_complete is None else trial.datetime_complete.timestamp(),
        defaults=has_defaults(trial),
    )


def _importances(study: OptunaStudy, trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """Of the first objective; by fANOVA (Hutter et al. 2014) over the complete trials."""
    import optuna

    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    if len(complete) < ENOUGH:
        return {}
    target = None if len(study.directions) == 1 else (lambda trial: trial.values[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            return dict(
                optuna.importance.get_param_importances(study, evaluator=evaluator, target=target)
            )
        except (ImportError, RuntimeError, ValueError):
            # All trials alike, or no scikit-learn: there is nothing to say.
            return {}
