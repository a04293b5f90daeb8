"""Optuna's storage: a file ``optuna.db``, or a schema of its own in PostgreSQL."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lbench.errors import StoreError
from lbench.home import Home
from lbench.store.engine import store_url, write_ahead

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy import URL

SCHEMA = "lbench_optuna"
"""A schema of its own, because MLflow and Optuna both have a table alembic_version."""
BUSY_SECONDS = 60


def storage(home: Home) -> RDBStorage:
    """Open Optuna's storage of a home: ``optuna.db``, or a schema in the store's PostgreSQL.

    Raises:
        StoreError: it cannot be reached, or another version of Optuna wrote it.
    """
    import optuna
    from optuna.storages import RDBStorage
    from sqlalchemy import event

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = _url(home)
    with _opening(home):
        if url.get_backend_name() == "postgresql":
            _create_schema(home)
            return RDBStorage(url=url.render_as_string(hide_password=False))
        home.root.mkdir(parents=True, exist_ok=True)
        arguments = {"connect_args": {"timeout": BUSY_SECONDS}}
        opened = RDBStorage(url=url.render_as_string(), engine_kwargs=arguments)
        event.listen(opened.engine, "connect", _set_up_sqlite)
        opened.engine.dispose()  # the connection that created the tables was not set up
        return opened


def _url(home: Home) -> URL:
    """Return the URL of the database; it escapes special characters of a path when rendered."""
    from sqlalchemy import URL

    url = store_url(home)
    if url.get_backend_name() == "postgresql":
        return url.update_query_dict({"options": f"-csearch_path={SCHEMA}"})
    return URL.create("sqlite", database=str(home.copies.get(home.searches, home.searches)))


def has_storage(home: Home) -> bool:
    """Return whether the storage exists; opening it would create it."""
    if store_url(home).get_backend_name() == "postgresql":
        return True
    return home.searches.exists() and home.searches.stat().st_size > 0


def location(home: Home) -> str:
    """Return the location of the storage for messages, without a password."""
    url = store_url(home)
    if url.get_backend_name() == "postgresql":
        return f"{url.render_as_string()} (schema {SCHEMA})"
    return str(home.searches)


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # Each suggested setting is a commit, which takes half the time without a sync of the disk.
    # A power failure can lose the rows of the last trials; their run directories remain.
    write_ahead(connection)


def _create_schema(home: Home) -> None:
    from sqlalchemy import text

    from lbench.store.engine import connected, writing

    with connected(home) as engine, writing(engine) as connection:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))


@contextmanager
def storage_errors(home: Home) -> Iterator[None]:
    """Turn every error of Optuna's storage into a StoreError."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy import exc

    try:
        yield
    except (StorageInternalError, exc.SQLAlchemyError) as error:
        # Optuna's message names the operation, that of the database the reason.
        reason = str(error.__cause__ or error).splitlines()[0].rstrip(".")
        raise StoreError(
            f"Optuna's storage {location(home)} cannot be used: {reason}.",
            "All results are kept in the run directories. Repair the storage, or move it away: "
            "searches then begin anew, and finished runs are not repeated.",
        ) from error


@contextmanager
def _opening(home: Home) -> Iterator[None]:
    try:
        with storage_errors(home):
            yield
    except RuntimeError as error:
        # Optuna raises RuntimeError for a schema of another version.
        url = shlex.quote(_url(home).render_as_string())
        raise StoreError(
            f"Optuna's storage {location(home)} was written by another version of Optuna than the "
            f"installed one: {str(error).splitlines()[0]}",
            "Install the Optuna that wrote it (see constraints.txt); or copy the storage and run: "
            f"optuna storage upgrade --storage {url}; or move it away: searches then begin "
            "anew, and finished runs are not repeated.",
        ) from error
