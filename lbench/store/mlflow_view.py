"""The view of the record in MLflow: it can be rebuilt at any time and is never read back."""

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
from lbench.store.mlflow_content import RunView, child, parent
from lbench.store.mlflow_page import (
    EXPERIMENT,
    EXPERIMENT_TAGS,
    has_mlflow,
    mlflow_uri,
    sqlite_uri,
)
from lbench.store.mlflow_tables import create_tables
from lbench.store.record import Record, latest
from lbench.store.rows import CellRow, RunRow
from lbench.store.run_dir_reader import DAMAGE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

T = TypeVar("T")

PUBLISHED = "lbench.published"
"""Tag with the digest of a run's content when it was last published; the same is not rewritten."""
METRICS_PER_BATCH, PARAMETERS_PER_BATCH = 1000, 100
DIGEST_SHOWN = 8
"""Characters of a dataset's digest, as many as MLflow's own have, so that columns are narrow."""
PAGE = 1000
LOCK_SECONDS = 120


class MlflowView:
    """The publisher of configurations (parent runs in MLflow) and their runs (child runs).

    MLflow's tables are created on the first use, in the database of the store.

    Raises:
        StoreError: MLflow or its database does not answer; the record is not touched.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        with self._alone():
            self._client = self._open()

    def publish(self, record: Record, fingerprint: str) -> None:
        """Publish a configuration and all its runs; unchanged ones are not written again.

        Args:
            record: the record, which has the configuration and gets MLflow's run ids.
            fingerprint: fingerprint of the configuration.

        Raises:
            StoreError: MLflow or its database does not answer; the record is not touched.
        """
        with self._alone():
            rebase(self.home)
            # Read inside the lock, because another publisher may have changed the record.
            cell = record.cell(fingerprint)
            attempts = record.runs(cell, all_attempts=True)
            runs = latest(attempts)
            members = record.members(cell=cell.fingerprint)
            known = self._known(cell)
            # A configuration stays in its first experiment, whichever study has it later.
            experiments = [str(run.info.experiment_id) for run in known.values()]
            first = members[0].study if members else EXPERIMENT
            experiment = experiments[0] if experiments else self._experiment_id(first)
            view = parent(cell, runs, members)
            parent_id = self._show(experiment, known.get(("", "")), view, _dataset(cell, runs))
            ids: list[tuple[CellRow | RunRow, str]] = [(cell, parent_id)]
            for run in attempts:
                existing = known.get((run.fingerprint, str(run.attempt)))
                view, dataset = child(cell, run, members), _dataset(cell, [run])
                child_id = self._show(experiment, existing, view, dataset, parent_id, run)
                ids.append((run, child_id))
            for row, run_id in ids:
                if row.mlflow_run_id != run_id:
                    record.set_mlflow(row, run_id)

    def experiments(self) -> list[str]:
        """Return the ids of all experiments: one per study, and one for runs without a study."""
        experiments = self._client.search_experiments()
        return [str(experiment.experiment_id) for experiment in experiments]

    def _show(
        self,
        experiment: str,
        known: Run | None,
        view: RunView,
        dataset: DatasetInput,
        parent_id: str | None = None,
        run: RunRow | None = None,
    ) -> str:
        from mlflow.entities import RunTag

        if known is not None and known.data.tags.get(PUBLISHED) == view.digest():
            return str(known.info.run_id)
        tags = {**view.tags, **({"mlflow.parentRunId": parent_id} if parent_id else {})}
        if known is None:
            known = self._client.create_run(experiment, view.started, tags, view.name)
        run_id = str(known.info.run_id)
        if known.inputs is None or not known.inputs.dataset_inputs:
            self._client.log_inputs(run_id, [dataset])
        for key in known.data.tags.keys() - tags.keys():
            if key.startswith(("lbench.", "audit.")):
                self._client.delete_tag(run_id, key)
        self._log_numbers(known, view)
        if run is not None:
            _copy_files(run, known)
        if view.ended is None:
            self._client.update_run(run_id, view.status, view.name)
        else:
            self._client.update_run(run_id, name=view.name)
            self._client.set_terminated(run_id, view.status, view.ended)
        # Tags come last, so that a publication that was interrupted is repeated.
        tags[PUBLISHED] = view.digest()
        self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        return run_id

    def _log_numbers(self, known: Run, view: RunView) -> None:
        """Log parameters, if there are none yet, and replace the metrics."""
        from mlflow.entities import Metric, Param

        run_id = str(known.info.run_id)
        if not known.data.params:
            parameters = [Param(key, value) for key, value in view.parameters.items()]
            for batch in _batches(parameters, PARAMETERS_PER_BATCH):
                self._client.log_batch(run_id, params=batch)
        if known.data.metrics:
            self._delete_metrics(run_id)
        for points in _batches([Metric(*point) for point in view.points], METRICS_PER_BATCH):
            self._client.log_batch(run_id, metrics=points)

    def _known(self, cell: CellRow) -> dict[tuple[str, str], Run]:
        """Return the MLflow runs by fingerprint and attempt; both are empty for the parent."""
        runs: dict[tuple[str, str], Run] = {}
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
                runs[tags.get("lbench.fingerprint", ""), tags.get("lbench.attempt", "")] = run
            token = page.token
            if not token:
                return runs

    def _delete_metrics(self, run_id: str) -> None:
        # MLflow only appends: a mean that another seed has changed would be there twice.
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
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            tags = dict(EXPERIMENT_TAGS)
            return self._client.create_experiment(name, location(self.home, name), tags)
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        for key, value in EXPERIMENT_TAGS.items():
            if experiment.tags.get(key) != value:
                self._client.set_experiment_tag(experiment.experiment_id, key, value)
        return str(experiment.experiment_id)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Exclude other publishers: two could create the same tables or experiments."""
        with _reaching_mlflow(self.home):
            self.home.root.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.home.root / "mlflow.lock", timeout=LOCK_SECONDS):
                yield


def _create(uri: str) -> None:
    """Create MLflow's tables in an empty database."""
    client = _client(uri)
    # An empty experiment called Default would be the first thing that the UI shows.
    client.delete_experiment("0")


def _client(uri: str) -> MlflowClient:
    """Return MLflow's client, without telemetry and without MLflow's own log lines."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        # MLflow logs the traceback of each exception that it raises.
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
                f"The MLflow tables in {where} have another version than the installed MLflow.",
                f"Make a copy of the store, then run: mlflow db upgrade {shlex.quote(where)}",
            ) from error
        raise unreachable(home, f"MLflow reports: {problem}") from error


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
    """Copy a run's result and epoch log, as far as they can be read, to its artifacts."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    # Not by the client, which remembers the folder from before a home was moved.
    folder = get_artifact_repository(known.info.artifact_uri)
    for name in ("result.json", "metrics.jsonl"):
        file = run.run_dir / name
        if os.access(file, os.R_OK) and file.is_file():
            folder.log_artifact(str(file))  # type: ignore[no-untyped-call]


def _batches(items: list[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
