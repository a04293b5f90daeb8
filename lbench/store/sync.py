"""Rebuilds the record, and MLflow's view of it, from the run directories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbench.errors import DamagedError
from lbench.home import Home
from lbench.store.journal import Journal, journals
from lbench.store.missing import run_dirs
from lbench.store.record import Record
from lbench.store.rows import Summarise


@dataclass(frozen=True)
class Report:
    """What a sync found.

    Attributes:
        cells: how many cells the record now has.
        runs: how many run directories were taken.
        statuses: of those, how many have which status.
        published: how many cells MLflow now shows; None when it was not asked for.
        unreadable: directories of runs and studies that were left out, with the reason.
        skipped: a sentence for each study's journal with lines that cannot be read.
    """

    cells: int
    runs: int
    statuses: Mapping[str, int]
    published: int | None
    unreadable: Mapping[Path, str]
    skipped: Sequence[str]


def sync(home: Home, summarise: Summarise, *, mlflow: bool = True) -> Report:
    """Takes every run directory into the record; removes nothing, and creates no empty store.

    A run that no process works on any more, and that has no result, becomes ``killed``.

    Args:
        home: whose run directories and store.
        summarise: makes the numbers of a cell's line in MLflow.
        mlflow: whether to rebuild MLflow's view too.

    Raises:
        UsageError: the store is the home's, and may not be written.
        StoreError: the store cannot be reached.
    """
    statuses: Counter[str] = Counter()
    unreadable: dict[Path, str] = {}
    skipped: list[str] = []
    found = list(run_dirs(home))
    if not found and not home.has_store():
        return Report(0, 0, {}, 0 if mlflow else None, {}, [])
    if home.store_file == home.root / "store.db":
        home.prepare()
    with Record.open(home) as record:
        for run_dir in found:
            try:
                statuses[record.take(run_dir).status] += 1
            except DamagedError as error:
                unreadable[run_dir.path] = error.message
        for study in journals(home):
            try:
                journal = Journal(home, study)
                record.join(journal.read())
            except DamagedError as error:
                unreadable[home.studies / study] = error.message
            else:
                skipped += [journal.skipped] if journal.skipped else []
        cells = record.cells()
        if mlflow and cells:
            from lbench.store.mlflow_view import MlflowView

            view = MlflowView(home)
            for cell in cells:
                view.publish(record, cell.fingerprint, summarise)
    return Report(
        cells=len(cells),
        runs=statuses.total(),
        statuses=dict(statuses),
        published=len(cells) if mlflow else None,
        unreadable=unreadable,
        skipped=skipped,
    )
