"""The record: every cell and run of a home, in the store; rebuilt from the run directories."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Select, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from lbench.home import Home
from lbench.rundir import RunDir, without_nan
from lbench.store.engine import connect, reaching, writing
from lbench.store.missing import run_dirs
from lbench.store.models import Base, Cell, Run
from lbench.store.models import Member as Place
from lbench.store.names import one
from lbench.store.reading import as_it_is, read
from lbench.store.rows import CellRow, Member, RunRow


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
            DamagedError: the directory's files are missing or damaged.
        """
        with self._writing() as connection:
            # Read inside the transaction: what another process takes later is newer than this.
            cell, run = read(run_dir, self.home.runs)
            _upsert(connection, Cell, cell, ("fingerprint",))
            _upsert(connection, Run, run, ("fingerprint", "attempt"))
            query = select(Run.__table__).where(
                Run.fingerprint == run["fingerprint"], Run.attempt == run["attempt"]
            )
            return self._runs(connection, query)[0]

    def cells(self) -> list[CellRow]:
        """All cells, oldest first."""
        query = select(Cell.__table__).order_by(Cell.id)
        with self._reading() as connection:
            return [_cell(row) for row in connection.execute(query).mappings()]

    def cell(self, prefix: str) -> CellRow:
        """The one cell that a prefix means, see :func:`lbench.store.names.matching`.

        Raises:
            UsageError: none or several; names the nearest or the candidates.
        """
        with self._reading() as connection:
            fingerprint = one(_names(connection), prefix)
            query = select(Cell.__table__).where(Cell.fingerprint == fingerprint)
            return _cell(connection.execute(query).mappings().one())

    def runs(self, cell: CellRow, *, all_attempts: bool = False) -> list[RunRow]:
        """A cell's runs by seed: of each the latest attempt, or all, oldest attempt first.

        A run whose process died without a word is ``killed`` here, whatever was recorded.
        """
        query = (
            select(Run.__table__)
            .where(Run.cell == cell.fingerprint)
            .order_by(Run.seed, Run.attempt)
        )
        with self._reading() as connection:
            rows = self._runs(connection, query)
        return rows if all_attempts else latest(rows)

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

    def unrecorded(self) -> list[RunDir]:
        """The home's run directories that are not in the record."""
        with self._reading() as connection:
            known = {self.home.runs / path for path in connection.scalars(select(Run.run_dir))}
        try:
            return [each for each in run_dirs(self.home) if each.path not in known]
        except OSError:  # what is in the record can be read all the same
            return []

    def empty(self) -> bool:
        """Whether no run is in the record."""
        with self._reading() as connection:
            return connection.scalar(select(Run.id).limit(1)) is None

    def test_reads(self) -> dict[str, int]:
        """How often each test set was read by all runs, by the data's digest."""
        query = (
            select(Cell.data_digest, func.sum(Run.test_reads))
            .join(Run, Run.cell == Cell.fingerprint)
            .group_by(Cell.data_digest)
        )
        with self._reading() as connection:
            return {digest: int(count) for digest, count in connection.execute(query)}

    def join(self, members: Iterable[Member]) -> None:
        """Remembers places of runs in studies; one that is known moves to the run given now."""
        with self._writing() as connection:
            for member in members:
                key = ("study", "point", "search", "role", "trial", "seed")
                _upsert(connection, Place, asdict(member), key)

    def members(self, *, study: str | None = None, cell: str | None = None) -> list[Member]:
        """Places of runs in studies, oldest first: those of a study, or of a cell's runs."""
        query = select(Place.__table__).order_by(Place.id)
        if study is not None:
            query = query.where(Place.study == study)
        if cell is not None:
            query = query.where(Place.cell == cell)
        with self._reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [Member(**{k: v for k, v in row.items() if k != "id"}) for row in rows]

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
            values["contradictions"] = values["contradictions"] or []
            rows.append(as_it_is(RunRow(**values)))
        return rows


def latest(attempts: Iterable[RunRow]) -> list[RunRow]:
    """Of attempts in their order the last of each seed."""
    return list({row.seed: row for row in attempts}.values())


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
    return without_nan(json.loads(json.dumps({**spec, "rule": rule})))
