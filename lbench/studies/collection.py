"""Collection of a study's results from its folder, the record and Optuna's storage."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from lbench.home import Home
from lbench.store.memberships import Memberships
from lbench.store.record import Record
from lbench.store.rows import CellRow, Member, RunRow
from lbench.store.run_dirs import check_store
from lbench.studies.best_trials import indistinguishable_trials
from lbench.studies.defaults import best_of, has_defaults, settings_of, values_of
from lbench.studies.definition import Study
from lbench.studies.ledger import Entry, read_ledger
from lbench.studies.missing_files import missing_plan, missing_searches
from lbench.studies.results import Final, SearchResult, StudyData, Trial
from lbench.studies.search import REASON, search_digest
from lbench.studies.storage import has_storage, storage, storage_errors

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

MIN_TRIALS = 10
"""Complete trials that are needed to compute importances."""


def collect_results(study: Study, home: Home) -> StudyData:
    """Return the results of a study so far, without training anything or creating files.

    Args:
        study: the study.
        home: home directory.

    Raises:
        StoreError: the record or Optuna's storage cannot be used.
        DamagedError: a file of the study's folder is not what lbench wrote.
    """
    ledger = read_ledger(home, study)
    study = ledger.study
    untrainable = {
        entry.point.key: entry.untrainable for entry in ledger.entries if entry.untrainable
    }
    members = list(Memberships(home, study.name).read())
    if ledger.entries or members:
        check_store(home)
    if not ledger.entries or not home.has_store():
        points = [entry.point for entry in ledger.entries]
        lacking = missing_plan(home, study.name, members)
        return StudyData(
            study, (), (), points, ledger.absent, ledger.command, ledger.older, untrainable, lacking
        )
    guarded = storage_errors(home) if study.search else nullcontext()
    with Record.open(home) as record, guarded:
        # The record may still have members that the file has lost.
        members = [*record.members(study=study.name), *members]
        lookup = _RunLookup(record, members)
        optuna_storage = storage(home) if study.search and has_storage(home) else None
        names = {entry.point.key: entry.search for entry in ledger.entries if entry.search}
        lacking = missing_searches(home, names, optuna_storage, members)
        searches = [
            _search(entry, lookup, optuna_storage) for entry in ledger.entries if entry.search
        ]
        best = {search.point.key: search.best for search in searches}
        finals: list[Final] = []
        missing = []
        for entry in ledger.entries:
            trial = best.get(entry.point.key)
            final = _final(entry, trial, lookup)
            if final is not None:
                finals.append(final)
            else:
                missing.append(entry.point)
    return StudyData(
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


class _RunLookup:
    """Runs of a study's points, read from the record per configuration."""

    def __init__(self, record: Record, members: Iterable[Member]) -> None:
        self.record = record
        self.members: dict[tuple[str, str, str, int], dict[int, Member]] = defaultdict(dict)
        for member in members:
            by_seed = self.members[member.point, member.search, member.role, member.trial]
            # The last membership of a seed replaces earlier ones and becomes the last entry.
            by_seed.pop(member.seed, None)
            by_seed[member.seed] = member
        self._cells = {row.fingerprint: row for row in record.cells()}
        self._runs: dict[str, Mapping[str, RunRow]] = {}

    def cell(self, fingerprint: str) -> CellRow | None:
        """Return the row of a configuration; None if a driver died before it recorded it."""
        return self._cells.get(fingerprint)

    def runs(self, members: Mapping[int, Member]) -> list[RunRow]:
        """Return the recorded runs of memberships, in ascending order of the seed."""
        members_in_order = [member for _, member in sorted(members.items())]
        runs = [self._runs_of(member.cell).get(member.run) for member in members_in_order]
        return [run for run in runs if run is not None]

    def _runs_of(self, cell: str) -> Mapping[str, RunRow]:
        """Return the last attempt of each run of a configuration, by the run's fingerprint."""
        if cell not in self._runs:
            row = self._cells.get(cell)
            runs = [] if row is None else self.record.runs(row)
            self._runs[cell] = {run.fingerprint: run for run in runs}
        return self._runs[cell]


def _final(entry: Entry, trial: Trial | None, lookup: _RunLookup) -> Final | None:
    number = -1 if trial is None else trial.number
    if entry.search and trial is None:
        return None
    chosen = {} if trial is None else trial.params
    key = (entry.point.key, search_digest(entry.search), "final", number)
    return _trained(entry, chosen, lookup, key)


def _trained(
    entry: Entry, chosen: Mapping[str, Any], lookup: _RunLookup, key: tuple[str, str, str, int]
) -> Final | None:
    """Return the configuration that was trained last, with its runs, or None.

    Args:
        entry: the planned point.
        chosen: settings that the search chose.
        lookup: runs of the study.
        key: point, digest of the search, role and trial of the runs.
    """
    if not (members := lookup.members.get(key)):
        return None
    newest = list(members.values())[-1].cell
    members = {seed: member for seed, member in members.items() if member.cell == newest}
    cell = lookup.cell(newest)
    if cell is None:
        return None
    return Final(entry.point, chosen, cell, lookup.runs(members))


def _search(entry: Entry, lookup: _RunLookup, optuna_storage: BaseStorage | None) -> SearchResult:
    name = entry.search or ""
    study = _open(name, optuna_storage)
    frozen = study.get_trials(deepcopy=False) if study is not None else []
    key = (entry.point.key, search_digest(entry.search), "defaults", -1)
    trials = [_trial(entry, trial, lookup) for trial in frozen if trial.state.name != "WAITING"]
    by_number = {trial.number: trial for trial in trials}
    frozen_best = best_of(frozen)
    best = None if frozen_best is None else by_number[frozen_best.number]
    similar, validation = indistinguishable_trials(trials, best)
    return SearchResult(
        point=entry.point,
        name=name,
        space=entry.space,
        objectives=entry.objectives,
        wanted=entry.wanted,
        trials=trials,
        best=best,
        indistinguishable=similar,
        front=_front(trials),
        validation=validation,
        importances={} if study is None else _importances(study, frozen),
        defaults=_trained(entry, {}, lookup, key),
    )


def _front(trials: Sequence[Trial]) -> list[Trial]:
    """Return the complete trials that no other one dominates."""
    complete = [(trial, trial.values) for trial in trials if trial.values is not None]
    return [
        trial
        for trial, values in complete
        if not any(
            other != values and all(o <= v for o, v in zip(other, values, strict=True))
            for _, other in complete
        )
    ]


def _open(name: str, optuna_storage: BaseStorage | None) -> OptunaStudy | None:
    import optuna

    if optuna_storage is None:
        return None
    try:
        return optuna.load_study(study_name=name, storage=optuna_storage)
    except KeyError:
        return None


def _trial(entry: Entry, trial: FrozenTrial, lookup: _RunLookup) -> Trial:
    key = (entry.point.key, search_digest(entry.search), "trial", trial.number)
    runs = lookup.runs(lookup.members.get(key, {}))
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
    """Return the importance of each setting for the first objective.

    It is computed by fANOVA (Hutter et al. 2014) over the complete trials.
    """
    import optuna

    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    if len(complete) < MIN_TRIALS:
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
            # All trials are equal, or scikit-learn is missing: there are no importances.
            return {}
