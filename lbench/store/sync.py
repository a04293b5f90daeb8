"""The rebuilding of the record, and of its view in MLflow, from the run directories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbench.errors import DamagedError
from lbench.home import Home
from lbench.store.memberships import Memberships, studies_with_memberships
from lbench.store.record import Record
from lbench.store.run_dirs import run_dirs


@dataclass(frozen=True)
class SyncResult:
    """The result of a sync.

    Attributes:
        cells: number of configurations in the record.
        runs: number of run directories that were read.
        statuses: number of these runs by status.
        published: number of configurations in MLflow; None if MLflow was not rebuilt.
        unreadable: directories of runs and studies that were left out, with the reason.
        skipped: a sentence for each study whose memberships have lines that cannot be read.
    """

    cells: int
    runs: int
    statuses: Mapping[str, int]
    published: int | None
    unreadable: Mapping[Path, str]
    skipped: Sequence[str]


def sync(home: Home, *, mlflow: bool = True) -> SyncResult:
    """Record every run directory of a home; remove nothing, and create no empty store.

    A run without a result that no process works on any more becomes ``killed``.

    Args:
        home: home of the run directories and the store.
        mlflow: whether to rebuild the view in MLflow too.

    Raises:
        UsageError: the store is the home's, and may not be written.
        StoreError: the store cannot be reached.
    """
    statuses: Counter[str] = Counter()
    unreadable: dict[Path, str] = {}
    skipped: list[str] = []
    directories = list(run_dirs(home))
    if not directories and not home.has_store():
        return SyncResult(0, 0, {}, 0 if mlflow else None, {}, [])
    if home.store_file == home.root / "store.db":
        home.prepare()
    with Record.open(home) as record:
        for run_dir in directories:
            try:
                statuses[record.take(run_dir).status] += 1
            except DamagedError as error:
                unreadable[run_dir.path] = error.message
        for study in studies_with_memberships(home):
            try:
                memberships = Memberships(home, study)
                record.join(memberships.read())
            except DamagedError as error:
                unreadable[home.studies / study] = error.message
            else:
                skipped += [memberships.skipped] if memberships.skipped else []
        cells = record.cells()
        if mlflow and cells:
            from lbench.store.mlflow_view import MlflowView

            view = MlflowView(home)
            for cell in cells:
                view.publish(record, cell.fingerprint)
    return SyncResult(
        cells=len(cells),
        runs=statuses.total(),
        statuses=dict(statuses),
        published=len(cells) if mlflow else None,
        unreadable=unreadable,
        skipped=skipped,
    )
