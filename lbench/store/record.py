"""The record: all configurations and runs of a home; it can be rebuilt from run directories."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Select, Table, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from lbench.home import Home
from lbench.quantities import QUANTITIES
from lbench.rundir import RunDir, without_nan
from lbench.store.engine import connect, reaching, writing
from lbench.store.models import CELLS, MEMBERS, RUNS
from lbench.store.names import one
from lbench.store.rows import CellRow, Member, RunRow
from lbench.store.run_dir_reader import read, with_current_status
from lbench.store.run_dirs import run_dirs


class Record:
    """The recorded configurations and runs; open with :meth:`open`, use as a context manager.

    Every method raises :class:`lbench.errors.StoreError` when the store cannot be reached.
    """

    def __init__(self, home: Home, engine: Engine) -> None:
        self.home = home
        self._engine = engine

    @classmethod
    def open(cls, home: Home) -> Record:
        """Open the record of a home; its tables are created if they are absent.

        Raises:
            StoreError: the store cannot be reached, is damaged, or a newer lbench wrote it.
        """
        return cls(home, connect(home))

    def close(self) -> None:
        """Close the connections to the database."""
        self._engine.dispose()

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, run_dir: RunDir) -> RunRow:
        """Record the current content of a run directory, and return its row.

        Raises:
            DamagedError: the directory's files are missing or damaged.
        """
        with self._writing() as connection:
            # Read inside the transaction, so that another process overwrites it only by newer rows.
            cell, run = read(run_dir, self.home.runs)
            _upsert(connection, CELLS, cell, ("fingerprint",))
            _upsert(connection, RUNS, run, ("fingerprint", "attempt"))
            query = select(RUNS).where(
                RUNS.c.fingerprint == run["fingerprint"], RUNS.c.attempt == run["attempt"]
            )
            return self._runs(connection, query)[0]

    def cells(self) -> list[CellRow]:
        """Return all configurations, oldest first."""
        query = select(CELLS).order_by(CELLS.c.id)
        with self._reading() as connection:
            return [_cell(row) for row in connection.execute(query).mappings()]

    def cell(self, prefix: str) -> CellRow:
        """Return the one configuration that a prefix means (:func:`lbench.store.names.matching`).

        Raises:
            UsageError: there is none or several; the error names similar ids or the candidates.
        """
        with self._reading() as connection:
            fingerprint = one(_names(connection), prefix)
            query = select(CELLS).where(CELLS.c.fingerprint == fingerprint)
            return _cell(connection.execute(query).mappings().one())

    def runs(self, cell: CellRow, *, all_attempts: bool = False) -> list[RunRow]:
        """Return a configuration's runs by seed, the latest attempt or all, oldest first.

        A run whose process was killed has the status ``killed``, whatever was recorded.
        """
        query = (
            select(RUNS)
            .where(RUNS.c.cell == cell.fingerprint)
            .order_by(RUNS.c.seed, RUNS.c.attempt)
        )
        with self._reading() as connection:
            rows = self._runs(connection, query)
        return rows if all_attempts else latest(rows)

    def older_code(self, spec: Mapping[str, Any]) -> list[CellRow]:
        """Return the configurations that differ only in their rule's code, newest first.

        Args:
            spec: spec of a configuration, as in ``spec.json`` under ``"spec"``.
        """
        rule = spec["rule"]
        query = select(CELLS).where(CELLS.c.rule == rule["name"]).order_by(CELLS.c.id.desc())
        with self._reading() as connection:
            rows = [_cell(row) for row in connection.execute(query).mappings()]
        other_parts = _without_code(spec)
        return [
            row
            for row in rows
            if row.rule_code != rule["code"] and _without_code(row.spec) == other_parts
        ]

    def unrecorded(self) -> list[RunDir]:
        """Return the home's run directories that are not in the record."""
        with self._reading() as connection:
            known = {self.home.runs / path for path in connection.scalars(select(RUNS.c.run_dir))}
        try:
            return [run_dir for run_dir in run_dirs(self.home) if run_dir.path not in known]
        except OSError:  # the record can be read although the directories cannot be listed
            return []

    def empty(self) -> bool:
        """Return whether the record has no run."""
        with self._reading() as connection:
            return connection.scalar(select(RUNS.c.id).limit(1)) is None

    def test_reads(self) -> dict[str, int]:
        """Return how often all runs together read each test set, by the digest of the data."""
        query = (
            select(CELLS.c.data_digest, func.sum(RUNS.c.test_reads))
            .join(RUNS, RUNS.c.cell == CELLS.c.fingerprint)
            .group_by(CELLS.c.data_digest)
        )
        with self._reading() as connection:
            return {digest: int(count) for digest, count in connection.execute(query)}

    def join(self, members: Iterable[Member]) -> None:
        """Record the memberships of runs; one with the key of an older one replaces it."""
        with self._writing() as connection:
            for member in members:
                key = ("study", "point", "search", "role", "trial", "seed")
                _upsert(connection, MEMBERS, asdict(member), key)

    def members(self, *, study: str | None = None, cell: str | None = None) -> list[Member]:
        """Return the members of a study, or those for a configuration's runs, oldest first."""
        query = select(MEMBERS).order_by(MEMBERS.c.id)
        if study is not None:
            query = query.where(MEMBERS.c.study == study)
        if cell is not None:
            query = query.where(MEMBERS.c.cell == cell)
        with self._reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [Member(**{k: v for k, v in row.items() if k != "id"}) for row in rows]

    def set_mlflow(self, row: CellRow | RunRow, mlflow_run_id: str) -> None:
        """Record the MLflow run of a configuration (a parent run) or of a run (its child)."""
        if isinstance(row, CellRow):
            statement = update(CELLS).where(CELLS.c.fingerprint == row.fingerprint)
        else:
            statement = update(RUNS).where(
                RUNS.c.fingerprint == row.fingerprint, RUNS.c.attempt == row.attempt
            )
        with self._writing() as connection:
            connection.execute(statement.values(mlflow_run_id=mlflow_run_id))

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with reaching(self.home), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with reaching(self.home), writing(self._engine) as connection:
            yield connection

    def _runs(self, connection: Connection, query: Select[Any]) -> list[RunRow]:
        rows = []
        for row in connection.execute(query).mappings():
            values = dict(row)
            del values["id"]
            values["measured"] = {q.name: q.or_default(values.pop(q.name)) for q in QUANTITIES}
            values["run_dir"] = self.home.runs / values["run_dir"]
            values["contradictions"] = values["contradictions"] or []
            rows.append(with_current_status(RunRow(**values)))
        return rows


def latest(attempts: Iterable[RunRow]) -> list[RunRow]:
    """Return the last attempt of each seed; the attempts are in order."""
    return list({row.seed: row for row in attempts}.values())


def _names(connection: Connection) -> dict[str, str]:
    rows = connection.execute(select(CELLS.c.fingerprint, CELLS.c.cell_id).order_by(CELLS.c.id))
    return {row.fingerprint: row.cell_id for row in rows}


def _cell(row: RowMapping) -> CellRow:
    values = dict(row)
    del values["id"]
    return CellRow(**values)


def _upsert(
    connection: Connection, table: Table, values: dict[str, Any], key: tuple[str, ...]
) -> None:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table).values(values)
    others = {name: value for name, value in values.items() if name not in key}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=others))


def _without_code(spec: Mapping[str, Any]) -> Any:
    rule = {key: value for key, value in spec["rule"].items() if key != "code"}
    # Through JSON, so that a tuple in a new spec equals the list in one that was read.
    return without_nan(json.loads(json.dumps({**spec, "rule": rule})))
