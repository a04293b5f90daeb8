"""Where Optuna remembers its suggestions: a file of its own, or a schema of its own."""

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
"""MLflow and Optuna both own a table called alembic_version: never in one place."""
BUSY_SECONDS = 60


def storage(home: Home) -> RDBStorage:
    """Optuna's storage of a home: ``optuna.db``, or a schema in the store's PostgreSQL.

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
        made = RDBStorage(url=url.render_as_string(), engine_kwargs=arguments)
        event.listen(made.engine, "connect", _set_up_sqlite)
        made.engine.dispose()  # the connection that made the tables was not set up
        return made


def _url(home: Home) -> URL:
    """Return the database's URL; when rendered, it escapes whatever a path may hold."""
    from sqlalchemy import URL

    url = store_url(home)
    if url.get_backend_name() == "postgresql":
        return url.update_query_dict({"options": f"-csearch_path={SCHEMA}"})
    return URL.create("sqlite", database=str(home.copies.get(home.searches, home.searches)))


def has_storage(home: Home) -> bool:
    """Whether there is one; opening one that is not there would create it."""
    if store_url(home).get_backend_name() == "postgresql":
        return True
    return home.searches.exists() and home.searches.stat().st_size > 0


def where(home: Home) -> str:
    """The storage in words, without a password."""
    url = store_url(home)
    if url.get_backend_name() == "postgresql":
        return f"{url.render_as_string()} (schema {SCHEMA})"
    return str(home.searches)


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # A suggestion is a commit for each setting: without a sync of the disk it takes half as long.
    # What a torn-off power cord costs is the last trials' rows; their runs are in their folders.
    write_ahead(connection)


def _create_schema(home: Home) -> None:
    from sqlalchemy import text

    from lbench.store.engine import connected, writing

    with connected(home) as engine, writing(engine) as connection:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))


@contextmanager
def reaching(home: Home) -> Iterator[None]:
    """Turns every way in which Optuna's storage fails into one StoreError."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy import exc

    try:
        yield
    except (StorageInternalError, exc.SQLAlchemyError) as error:
        # Optuna's own words are of what it did, the database's of what is wrong.
        reason = str(error.__cause__ or error).splitlines()[0].rstrip(".")
        raise StoreError(
            f"Optuna's storage {where(home)} cannot be used: {reason}.",
            "All results are kept in the run directories. Mend it, or move it away: searches then "
            "begin anew, and what was trained is not trained again.",
        ) from error


@contextmanager
def _opening(home: Home) -> Iterator[None]:
    try:
        with reaching(home):
            yield
    except RuntimeError as error:
        # Optuna's word for a schema of another version.
        shown = shlex.quote(_url(home).render_as_string())
        raise StoreError(
            f"Optuna's storage {where(home)} is of another version than the Optuna here: "
            f"{str(error).splitlines()[0]}",
            "Install the Optuna that wrote it (see constraints.txt); or, after a copy of it, run: "
            f"optuna storage upgrade --storage {shown}; or move it away: searches then begin "
            "anew, and what was trained is not trained again.",
        ) from error
