"""MLflow's picture of the record: a view, rebuilt whenever it is wanted, never read back."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import filelock
from sqlalchemy import exc, text

from lbench.errors import StoreError
from lbench.home import Home
from lbench.rundir import RunDir
from lbench.store.engine import connected, store_url, unreachable, writing
from lbench.store.mlflow_artifacts import location, rebase
from lbench.store.mlflow_content import Shown, child, parent
from lbench.store.mlflow_page import (
    EXPERIMENT,
    EXPERIMENT_TAGS,
    has_mlflow,
    mlflow_uri,
    sqlite_uri,
)
from lbench.store.mlflow_tables import create_tables
from lbench.store.reading import DAMAGE
from lbench.store.record import Record, latest
from lbench.store.rows import CellRow, RunRow, Summarise

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

T = TypeVar("T")

# Of a run's content as it was last published: nothing is written again while it is the same.
PUBLISHED = "lbench.published"
METRICS_A_BATCH, PARAMETERS_A_BATCH = 1000, 100
# Of the 36 that MLflow takes: as many as its own digests have, so that the column stays narrow.
DIGEST_SHOWN = 8
PAGE = 1000
LOCK_SECONDS = 120


class MlflowView:
    """Publishes cells to MLflow: a parent run a cell, a child a run.

    MLflow is created on the first use, in the database of the store.

    Raises:
        StoreError: MLflow or its database does not answer; the record is not touched.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        with self._alone():
            self._client = self._open()

    def publish(self, record: Record, fingerprint: str, summarise: Summarise) -> None:
        """Shows a cell and all its runs as they are now; again is free when nothing changed.

        Args:
            record: where the cell is read and MLflow's run ids are kept.
            fingerprint: of the cell.
            summarise: gives the parent's metrics, such as ``test_error_mean`` and ``n``; a None
                or NaN among them is left out.

        Raises:
            StoreError: MLflow or its database does not answer; the record is not touched.
        """
        with self._alone():
            rebase(self.home)
            # Read in here: who waited for another publisher shows what is there by now.
            cell = record.cell(fingerprint)
            attempts = record.runs(cell, all_attempts=True)
            runs = latest(attempts)
            members = record.members(cell=cell.fingerprint)
            known = self._known(cell)
            # A cell stays where it was first shown, whichever study asks for it later.
            there = [str(run.info.experiment_id) for run in known.values()]
            first = members[0].study if members else EXPERIMENT
            experiment = there[0] if there else self._experiment_id(first)
            shown = parent(cell, runs, summarise(cell, runs), members)
            above = self._show(experiment, known.get(("", "")), shown, _dataset(cell, runs))
            ids: list[tuple[CellRow | RunRow, str]] = [(cell, above)]
            for run in attempts:
                mine = known.get((run.fingerprint, str(run.attempt)))
                below = self._show(
                    experiment, mine, child(cell, run, members), _dataset(cell, [run]), above, run
                )
                ids.append((run, below))
            for row, run_id in ids:
                if row.mlflow_run_id != run_id:
                    record.set_mlflow(row, run_id)

    def experiments(self) -> list[str]:
        """The ids of all experiments: one a study, one for runs that no study asked for."""
        return [str(each.experiment_id) for each in self._client.search_experiments()]

    def _show(
        self,
        experiment: str,
        known: Run | None,
        shown: Shown,
        dataset: DatasetInput,
        above: str | None = None,
        run: RunRow | None = None,
    ) -> str:
        from mlflow.entities import RunTag

        if known is not None and known.data.tags.get(PUBLISHED) == shown.digest():
            return str(known.info.run_id)
        tags = {**shown.tags, **({"mlflow.parentRunId": above} if above else {})}
        if known is None:
            known = self._client.create_run(experiment, shown.started, tags, shown.name)
        run_id = str(known.info.run_id)
        if known.inputs is None or not known.inputs.dataset_inputs:
            self._client.log_inputs(run_id, [dataset])
        for key in known.data.tags.keys() - tags.keys():
            if key.startswith(("lbench.", "audit.")):
                self._client.delete_tag(run_id, key)
        self._log_numbers(known, shown)
        if run is not None:
            _copy_files(run, known)
        if shown.ended is None:
            self._client.update_run(run_id, shown.status, shown.name)
        else:
            self._client.update_run(run_id, name=shown.name)
            self._client.set_terminated(run_id, shown.status, shown.ended)
        # Last, so that whatever was cut short is shown again.
        marked = {**tags, PUBLISHED: shown.digest()}
        self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in marked.items()])
        return run_id

    def _log_numbers(self, known: Run, shown: Shown) -> None:
        """Log parameters, where there are none yet, and metrics in the place of older ones."""
        from mlflow.entities import Metric, Param

        run_id = str(known.info.run_id)
        if not known.data.params:
            parameters = [Param(key, value) for key, value in shown.parameters.items()]
            for few in _batches(parameters, PARAMETERS_A_BATCH):
                self._client.log_batch(run_id, params=few)
        if known.data.metrics:
            self._forget_metrics(run_id)
        for some in _batches([Metric(*point) for point in shown.points], METRICS_A_BATCH):
            self._client.log_batch(run_id, metrics=some)

    def _known(self, cell: CellRow) -> dict[tuple[str, str], Run]:
        """The cell's runs in MLflow by fingerprint and attempt; the parent's are empty."""
        found: dict[tuple[str, str], Run] = {}
        token = None
        while True:
            page = self._client.search_runs(
                self.experiments(),
                f"tags.`lbench.cell` = '{cell.fingerprint}'",
                max_results=PAGE,
                page_token=token,
            )
            for run in page:
                tags = run.data.tags
                found[tags.get("lbench.fingerprint", ""), tags.get("lbench.attempt", "")] = run
            token = page.token
            if not token:
                return found

    def _forget_metrics(self, run_id: str) -> None:
        # MLflow only ever appends: a mean that another seed has moved would stand there twice.
        with connected(self.home) as engine, writing(engine) as connection:
            for table in ("latest_metrics", "metrics"):
                statement = text(f"DELETE FROM {table} WHERE run_uuid = :run_id")
                connection.execute(statement, {"run_id": run_id})

    def _open(self) -> MlflowClient:
        new = not has_mlflow(self.home)
        if new:
            print("Creating the MLflow store (once)…", file=sys.stderr, flush=True)  # noqa: T201
            if self.home.store_file is None:
                _create(mlflow_uri(self.home))
            else:
                create_tables(
                    self.home.store_file, lambda file: _create(sqlite_uri(file)), self.home.root
                )
        client = _client(mlflow_uri(self.home))
        client.get_experiment_by_name(EXPERIMENT)
        return client

    def _experiment_id(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            tags = dict(EXPERIMENT_TAGS)
            return self._client.create_experiment(name, location(self.home, name), tags)
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        for key, value in EXPERIMENT_TAGS.items():
            if found.tags.get(key) != value:
                self._client.set_experiment_tag(found.experiment_id, key, value)
        return str(found.experiment_id)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One publisher at a time: two would each create what the other is creating."""
        with _reaching_mlflow(self.home):
            self.home.root.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.home.root / "mlflow.lock", timeout=LOCK_SECONDS):
                yield


def _create(uri: str) -> None:
    """Creates MLflow's tables in an empty database."""
    client = _client(uri)
    # An empty experiment called Default would be the first thing that the UI shows.
    client.delete_experiment("0")


def _client(uri: str) -> MlflowClient:
    """MLflow's client, without telemetry and without MLflow's own log lines."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        # It logs a traceback of whatever it then raises.
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
        logging.getLogger("alembic").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def _reaching_mlflow(home: Home) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except (exc.SQLAlchemyError, sqlite3.Error, ImportError, OSError) as error:
        raise unreachable(home, f"{type(error).__name__}: {error}") from error
    except Exception as error:
        if not type(error).__module__.startswith("mlflow."):
            raise
        problem = str(error).strip().partition("\n")[0]
        if "out-of-date database schema" in problem:
            where = store_url(home).render_as_string()
            raise StoreError(
                f"The MLflow tables in {where} are of another version than the MLflow here.",
                f"After a copy of it, run: mlflow db upgrade {shlex.quote(where)}",
            ) from error
        raise unreachable(home, f"MLflow says: {problem}") from error


def _dataset(cell: CellRow, runs: list[RunRow]) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    sizes: dict[str, Any] = {}
    with suppress(*DAMAGE):
        content = (RunDir(runs[0].run_dir).spec() or {})["data"]
        names = ("train", "validation", "test", "classes")
        sizes = {key: content[key] for key in names if key in content}
    dataset = Dataset(
        name=cell.dataset_title[:500],
        digest=cell.data_digest[:DIGEST_SHOWN],
        source_type="lbench",
        source=json.dumps({"dataset": cell.dataset, "variant": cell.variant}),
        profile=json.dumps(sizes),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _copy_files(run: RunRow, known: Run) -> None:
    """Copy a run's result and journal, as far as they can be read, to its artifacts."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    # Not by the client: it remembers where a run's artifacts lay before a home was moved.
    folder = get_artifact_repository(known.info.artifact_uri)
    for name in ("result.json", "metrics.jsonl"):
        file = run.run_dir / name
        if os.access(file, os.R_OK) and file.is_file():
            folder.log_artifact(str(file))  # type: ignore[no-untyped-call]


def _batches(items: list[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
