"""The folder of MLflow's artifacts, which follows a home that is copied or moved."""

from __future__ import annotations

from sqlalchemy import Connection, text

from lbench.home import Home
from lbench.store.engine import connected, writing
from lbench.store.mlflow_page import VIEW

LBENCH_LOCATIONS = text(
    "SELECT artifact_location FROM experiments WHERE experiment_id IN "
    "(SELECT experiment_id FROM experiment_tags WHERE key = :key)"
)
COLUMNS = (("experiments", "artifact_location"), ("runs", "artifact_uri"))


def location(home: Home, experiment: str) -> str:
    """Return the URI of the folder with an experiment's artifacts."""
    return (home.artifacts / experiment).as_uri()


def rebase(home: Home) -> None:
    """Point MLflow at the artifacts of this home.

    MLflow stores absolute URIs. In a copied or moved home they name the old home, so that new runs
    would write their artifacts there or fail. Artifacts of the old home's folder are expected in
    this home's folder; experiments with artifacts elsewhere stay as they are.

    Args:
        home: a home whose store has MLflow's tables.

    Raises:
        StoreError: the store cannot be reached.
    """
    here = home.artifacts.as_uri()
    with connected(home) as engine:
        with engine.connect() as connection:
            if not _others(connection, here):
                return
        with writing(engine) as connection:
            for there in _others(connection, here):
                _replace(connection, f"{there}/", f"{here}/")


def _replace(connection: Connection, old: str, new: str) -> None:
    values = {"old": old, "new": new, "length": len(old)}
    for table, column in COLUMNS:
        statement = text(
            f"UPDATE {table} SET {column} = :new || substr({column}, :length + 1) "
            f"WHERE substr({column}, 1, :length) = :old"
        )
        connection.execute(statement, values)


def _others(connection: Connection, here: str) -> set[str]:
    """Return the artifact folders of lbench's experiments, without this home's."""
    uris = connection.execute(LBENCH_LOCATIONS, {"key": VIEW}).scalars()
    return {uri.rpartition("/")[0] for uri in uris if uri} - {here}
