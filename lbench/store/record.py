"""The record: every cell and run of a home, in the store; rebuilt from the run directories."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Select, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from lbench.home import Home
from lbench.rundir import RunDir
from lbench.store.engine import connect, reaching, writing
from lbench.store.models import Base, Cell, Run
from lbench.store.names import matching, one
from lbench.store.reading import clean, read
from lbench.store.rows import CellRow, RunRow


class Record:
    """The cells and runs that are known; open with :meth:`open`, use as a context manager.

    Every method raises :class:`lbench.errors.StoreError` when the store cannot be reached.
    """

    def __init__(self, home: Home, engine: Engine) -> None:
        self.home = home
        self._engine = engine

    @classmethod
    def open(cls, home: Home) -> Record:
        """The record of a home; its tables are created if they are absent.

        Raises:
            StoreError: the store cannot be reached, is damaged, or a newer lbench wrote it.
        """
        return cls(home, connect(home))

    def close(self) -> None:
        """Lets go of the database."""
        self._engine.dispose()

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, run_dir: RunDir) -> RunRow:
        """Takes what a run directory says, as often as wanted, and returns it.

        Raises:
            UnreadableRunError: the directory's files are missing or damaged.
        """
        with self._writing() as connection:
            # Read inside the transaction: what another process takes later is newer than this.
            cell, run = read(run_dir, self.home.runs)
            _upsert(connection, Cell, cell, ("fingerprint",))
            _upsert(connection, Run, run, ("fingerprint", "attempt"))
            query = _attempts(run["fingerprint"]).where(Run.attempt == run["attempt"])
            return self._runs(connection, query)[0]

    def find(self, fingerprint: str) -> list[RunRow]:
        """The attempts at a run, newest first; empty when it is unknown."""
        with self._reading() as connection:
            return self._runs(connection, _attempts(fingerprint))

    def cells(self, prefix: str | None = None) -> list[CellRow]:
        """The cells that a prefix means (see :func:`lbench.store.names.matching`), oldest first.

        Args:
            prefix: of the readable id, or of the fingerprint; None for all cells.
        """
        with self._reading() as connection:
            query = select(Cell.__table__).order_by(Cell.id)
            if prefix is not None:
                query = query.where(Cell.fingerprint.in_(matching(_names(connection), prefix)))
            return [_cell(row) for row in connection.execute(query).mappings()]

    def cell(self, prefix: str) -> CellRow:
        """The one cell that a prefix means.

        Raises:
            UsageError: none or several; names the nearest or the candidates.
        """
        with self._reading() as connection:
            fingerprint = one(_names(connection), prefix)
            query = select(Cell.__table__).where(Cell.fingerprint == fingerprint)
            return _cell(connection.execute(query).mappings().one())

    def runs(self, cell: CellRow, *, all_attempts: bool = False) -> list[RunRow]:
        """A cell's runs by seed: of each the latest attempt, or all, oldest attempt first."""
        query = _query().where(Run.cell == cell.fingerprint).order_by(Run.seed, Run.attempt)
        with self._reading() as connection:
            rows = self._runs(connection, query)
        return rows if all_attempts else list({row.seed: row for row in rows}.values())

    def older_code(self, spec: Mapping[str, Any]) -> list[CellRow]:
        """The cells that differ from this spec in their rule's code alone, newest first.

        Args:
            spec: a cell's spec, as in ``spec.json`` under ``"spec"``.
        """
        rule = spec["rule"]
        query = select(Cell.__table__).where(Cell.rule == rule["name"]).order_by(Cell.id.desc())
        with self._reading() as connection:
            rows = [_cell(row) for row in connection.execute(query).mappings()]
        wanted = _without_code(spec)
        return [
            row
            for row in rows
            if row.rule_code != rule["code"] and _without_code(row.spec) == wanted
        ]

    def test_reads(self) -> dict[str, tuple[str, int]]:
        """How often each test set was read by all runs: data digest to title and count."""
        query = (
            select(Cell.data_digest, func.max(Cell.dataset_title), func.sum(Run.test_reads))
            .join(Run, Run.cell == Cell.fingerprint)
            .group_by(Cell.data_digest)
        )
        with self._reading() as connection:
            return {digest: (title, int(n)) for digest, title, n in connection.execute(query)}

    def set_mlflow(self, row: CellRow | RunRow, mlflow_run_id: str) -> None:
        """Remembers where MLflow shows a cell (its parent run) or a run (its child)."""
        if isinstance(row, CellRow):
            statement = update(Cell).where(Cell.fingerprint == row.fingerprint)
        else:
            statement = update(Run).where(
                Run.fingerprint == row.fingerprint, Run.attempt == row.attempt
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
            values["run_dir"] = self.home.runs / values["run_dir"]
            rows.append(RunRow(**values))
        return rows


def _query() -> Select[Any]:
    return select(Run.__table__)


def _attempts(fingerprint: str) -> Select[Any]:
    return _query().where(Run.fingerprint == fingerprint).order_by(Run.attempt.desc())


def _names(connection: Connection) -> dict[str, str]:
    rows = connection.execute(select(Cell.fingerprint, Cell.cell_id).order_by(Cell.id))
    return {row.fingerprint: row.cell_id for row in rows}


def _cell(row: RowMapping) -> CellRow:
    values = dict(row)
    del values["id"]
    return CellRow(**values)


def _upsert(
    connection: Connection, table: type[Base], values: dict[str, Any], key: tuple[str, ...]
) -> None:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table).values(values)
    others = {name: value for name, value in values.items() if name not in key}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=others))


def _without_code(spec: Mapping[str, Any]) -> Any:
    rule = {key: value for key, value in spec["rule"].items() if key != "code"}
    # Through JSON, so that a tuple in a spec that was just built equals the list that was read.
    return json.loads(json.dumps(clean({**spec, "rule": rule})))
