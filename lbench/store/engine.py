"""The connection to the store: SQLite on one machine, PostgreSQL on several."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Inspector,
    Table,
    create_engine,
    event,
    exc,
    insert,
    inspect,
    make_url,
    select,
    text,
    update,
)

from lbench.errors import StoreError
from lbench.home import Home
from lbench.store.models import METADATA, RUNS, SCHEMA, UPGRADES, VERSION

BUSY_SECONDS = 30
ADVISORY_LOCK = 0x1BE2C4
"""Number of the lock that PostgreSQL's writers wait for; nothing else in the database uses it."""
URLS = (
    "Write sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE, with a number "
    "as the PORT and %40 for an @ in the PASSWORD."
)


def store_url(home: Home) -> URL:
    """Return the URL of the store: ``LBENCH_STORE``, else ``store.db`` in the home.

    Raises:
        StoreError: ``LBENCH_STORE`` is no URL of a database, or one of a database in memory.
    """
    file, given = home.store_file, os.environ.get("LBENCH_STORE")
    if file is not None and (file in home.copies or not given):
        return URL.create("sqlite", database=str(home.copies.get(file, file)))
    assert given is not None
    try:
        url = make_url(given)
    except (exc.ArgumentError, ValueError):
        # Neither the URL nor the cause is shown, because both may contain a password.
        raise StoreError("LBENCH_STORE is no URL of a database.", URLS) from None
    if url.get_backend_name() == "sqlite" and _in_memory(url):
        raise StoreError(
            f"LBENCH_STORE is {given}, which names no file: its record would be lost at the end.",
            URLS,
        )
    return url


def _in_memory(url: URL) -> bool:
    # A name that begins with file: is SQLite's own kind of URL, which may name memory too.
    database = url.database or ":memory:"
    return database == ":memory:" or database.startswith("file:")


def connect(home: Home) -> Engine:
    """Return an engine on the home's store, with lbench's tables in their current version.

    Raises:
        StoreError: the store cannot be reached, is damaged, or a newer lbench wrote it.
    """
    with reaching(home):
        url = store_url(home)
        backend = url.get_backend_name()
        if backend not in ("sqlite", "postgresql"):
            raise StoreError(
                f"The store {url.render_as_string()} is neither SQLite nor PostgreSQL.",
                "Set LBENCH_STORE to sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE.",
            )
        if backend == "sqlite" and url.database:
            home.root.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url)
        if backend == "sqlite":
            event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin)
        try:
            _check_version(engine, home)
        except BaseException:
            engine.dispose()
            raise
    return engine


@contextlib.contextmanager
def connected(home: Home) -> Iterator[Engine]:
    """Yield an engine on the home's store, and dispose of it afterwards.

    Raises:
        StoreError: as :func:`connect`; also when the store fails in the meantime.
    """
    engine = connect(home)
    try:
        with reaching(home):
            yield engine
    finally:
        engine.dispose()


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in a transaction that no other writer overlaps."""
    with engine.connect().execution_options(lbench_writes=True) as connection, connection.begin():
        yield connection


@contextlib.contextmanager
def reaching(home: Home) -> Iterator[None]:
    """Raise every failure of the database as a StoreError."""
    try:
        yield
    except (exc.IntegrityError, exc.ProgrammingError, exc.DataError):
        raise
    except exc.DBAPIError as error:
        problem = str(error.orig)
    except (exc.ArgumentError, exc.NoSuchModuleError, ModuleNotFoundError, OSError) as error:
        problem = str(error)
    else:
        return
    raise unreachable(home, problem)


def unreachable(home: Home, problem: str) -> StoreError:
    """Return the error for a store that does not answer or is damaged."""
    where = _shown(home)
    reason = " ".join(problem.split()).rstrip(".?")
    return StoreError(
        f"The store {where} cannot be used: {reason}.",
        f"All results are kept in the run directories ({home.runs}). Repair the store, or move it "
        "away; `lbench sync` then rebuilds the record from them.",
    )


def _shown(home: Home) -> Path | str:
    """Return the file or URL of the store, without a password."""
    return home.store_file or store_url(home).render_as_string()


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # _begin sends BEGIN itself: the driver sends it too late to separate two writers.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA foreign_keys = ON")
    write_ahead(connection)


def write_ahead(connection: Any) -> None:
    """Let a SQLite connection read beside a writer, and commit without a sync of the disk."""
    connection.execute("PRAGMA synchronous = NORMAL")
    for _ in range(20):
        # SQLite does not wait for its lock here, whatever the timeout.
        try:
            if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "locked":
                return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
        time.sleep(0.05)


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("lbench_writes", False)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
    elif writes:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))


def _check_version(engine: Engine, home: Home) -> None:
    if not inspect(engine).has_table(SCHEMA.name):
        with writing(engine) as connection:
            # Inside the lock: of two processes that find no tables, one creates them.
            METADATA.create_all(connection)
            if connection.scalar(select(SCHEMA.c.version)) is None:
                connection.execute(insert(SCHEMA).values(version=VERSION))
    with engine.connect() as connection:
        version = connection.scalar(select(SCHEMA.c.version))
    if version is None or version > VERSION:
        raise StoreError(
            f"A newer lbench wrote the store {_shown(home)} "
            f"(version {version}; this one knows {VERSION}).",
            "Upgrade lbench; or set LBENCH_STORE to a new file and run `lbench sync`, which "
            f"fills it from the run directories ({home.runs}).",
        )
    if version < VERSION or _missing(inspect(engine), RUNS):
        _upgrade(engine)


def _upgrade(engine: Engine) -> None:
    with writing(engine) as connection:
        # Read again inside the lock: another process may have upgraded the store just now.
        version = connection.scalar(select(SCHEMA.c.version)) or VERSION
        for old in range(version, VERSION):
            for statement in UPGRADES.get(old, ()):
                connection.execute(text(statement))
        METADATA.create_all(connection)
        for table in METADATA.tables.values():
            for column in _missing(inspect(connection), table):
                kind = column.type.compile(engine.dialect)
                connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {column.name} {kind}"))
        if version < VERSION:
            connection.execute(update(SCHEMA).values(version=VERSION))


def _missing(database: Inspector, table: Table) -> list[Column[Any]]:
    """Return the columns that a table of an older lbench lacks, such as a newer quantity's."""
    present = {column["name"] for column in database.get_columns(table.name)}
    return [column for column in table.columns if column.name not in present]
