"""The writer of the store: it copies the content of run directories to the record and MLflow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lbench.errors import StoreError
from lbench.home import Home
from lbench.rundir import RunDir
from lbench.store.run_dirs import unrecorded

if TYPE_CHECKING:
    from lbench.store.record import Record
    from lbench.store.rows import Member, RunRow


class Writer:
    """The writer of the store, a context manager; an error of the store is kept, not raised.

    The run directories have all results, so training continues without a store.

    Args:
        home: home of the store.
        warn: called with a sentence when the store cannot be reached, and at the end when the
            store is new and lacks existing runs.
    """

    def __init__(self, home: Home, warn: Callable[[str], None]) -> None:
        self.home = home
        self.warn = warn
        self.error: StoreError | None = None
        self._record: Record | None = None
        self._new = False

    def take(self, run_dir: RunDir) -> RunRow | None:
        """Record the current content of a run directory, and return its row."""
        row: RunRow | None = self._try(lambda record: record.take(run_dir))
        return row

    def join(self, members: Iterable[Member]) -> None:
        """Record which studies runs belong to."""
        self._try(lambda record: record.join(members))

    def older_code(self, spec: Mapping[str, Any]) -> list[str]:
        """Return the ids of the configurations that differ from this one only in the rule's code.

        Args:
            spec: spec of the configuration, as in ``spec.json`` under ``"spec"``.
        """
        cells = self._try(lambda record: record.older_code(spec))
        return [cell.cell_id for cell in cells or []]

    def publish(self, cell_fingerprint: str) -> dict[int, str]:
        """Update a configuration in MLflow, and return its MLflow run ids by seed."""

        def write(record: Record) -> dict[int, str]:
            from lbench.store.mlflow_view import MlflowView

            MlflowView(self.home).publish(record, cell_fingerprint)
            return _mlflow_ids(record, cell_fingerprint)

        return self._try(write) or {}

    def published(self, cell_fingerprint: str) -> dict[int, str]:
        """Return the MLflow run ids by seed that were recorded before."""
        return self._try(lambda record: _mlflow_ids(record, cell_fingerprint)) or {}

    def unpublished(self, cell_fingerprints: Iterable[str]) -> list[str]:
        """Return those of the configurations that have a run which MLflow does not show."""
        fingerprints = set(cell_fingerprints)

        def find(record: Record) -> list[str]:
            return [
                cell.fingerprint
                for cell in record.cells()
                if cell.fingerprint in fingerprints
                and any(run.mlflow_run_id is None for run in record.runs(cell))
            ]

        return self._try(find) or []

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._record is not None:
            if self._new and (run_dirs := self._try(lambda record: record.unrecorded())):
                self.warn(unrecorded(self.home, len(run_dirs)))
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
        self.warn(f"{error.message} Training continues; results are kept in {self.home.runs}.")
        return None


def _mlflow_ids(record: Record, cell_fingerprint: str) -> dict[int, str]:
    runs = record.runs(record.cell(cell_fingerprint))
    return {run.seed: run.mlflow_run_id for run in runs if run.mlflow_run_id}
