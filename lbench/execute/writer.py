"""The one writer of the store: what a job left in its run directory goes into record and MLflow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lbench.errors import StoreError
from lbench.home import Home
from lbench.rundir import RunDir
from lbench.store.missing import unrecorded

if TYPE_CHECKING:
    from lbench.store.record import Record
    from lbench.store.rows import Member, RunRow, Summarise


class Writer:
    """Writes the store; a context manager. What the store refuses is remembered, not raised.

    The run directories hold everything, so training goes on without a store.

    Args:
        home: whose store it is.
        summarise: mean, standard deviation and interval of a cell's runs, for MLflow.
        warn: told once when the store cannot be reached, and at the end when it is new and lacks
            runs that are there.
    """

    def __init__(self, home: Home, summarise: Summarise, warn: Callable[[str], None]) -> None:
        self.home = home
        self.summarise = summarise
        self.warn = warn
        self.error: StoreError | None = None
        self._record: Record | None = None
        self._new = False

    def take(self, run_dir: RunDir) -> RunRow | None:
        """The record's row for a run directory as it is now."""
        row: RunRow | None = self._try(lambda record: record.take(run_dir))
        return row

    def join(self, members: Iterable[Member]) -> None:
        """Remembers places of runs in studies."""
        self._try(lambda record: record.join(members))

    def older_code(self, spec: Mapping[str, Any]) -> list[str]:
        """Ids of the cells that equal this one but for the rule's code."""
        cells = self._try(lambda record: record.older_code(spec))
        return [cell.cell_id for cell in cells or []]

    def publish(self, cell_fingerprint: str) -> dict[int, str]:
        """Brings a cell's MLflow view up to date; MLflow run ids by seed."""

        def write(record: Record) -> dict[int, str]:
            from lbench.store.mlflow_view import MlflowView

            MlflowView(self.home).publish(record, cell_fingerprint, self.summarise)
            return _mlflow_ids(record, cell_fingerprint)

        return self._try(write) or {}

    def published(self, cell_fingerprint: str) -> dict[int, str]:
        """MLflow run ids by seed, as they were written before."""
        return self._try(lambda record: _mlflow_ids(record, cell_fingerprint)) or {}

    def unpublished(self, cell_fingerprints: Iterable[str]) -> list[str]:
        """Those of these cells that have a run which MLflow does not show."""
        wanted = set(cell_fingerprints)

        def find(record: Record) -> list[str]:
            return [
                cell.fingerprint
                for cell in record.cells()
                if cell.fingerprint in wanted
                and any(run.mlflow_run_id is None for run in record.runs(cell))
            ]

        return self._try(find) or []

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._record is not None:
            if self._new and (found := self._try(lambda record: record.unrecorded())):
                self.warn(unrecorded(self.home, len(found)))
            self._record.close()

    def _try(self, action: Callable[[Record], Any]) -> Any:
        if self.error is not None:
            return None
        try:
            if self._record is None:
                from lbench.store.record import Record

                self._record = Record.open(self.home)
                self._new = self._record.empty()
            return action(self._record)
        except ModuleNotFoundError as missing:
            error = StoreError(
                f"The store needs {missing.name}, which is not installed.",
                f"Install it and run: lbench sync{self.home.option}. Or give --no-store.",
            )
        except StoreError as store_error:
            error = store_error
        self.error = error
        self.warn(f"{error.message} Training goes on; results are kept in {self.home.runs}.")
        return None


def _mlflow_ids(record: Record, cell_fingerprint: str) -> dict[int, str]:
    runs = record.runs(record.cell(cell_fingerprint))
    return {run.seed: run.mlflow_run_id for run in runs if run.mlflow_run_id}
