"""The layout of MLflow's page of runs: columns, their widths and the sort order."""

from __future__ import annotations

import json
from pathlib import Path

from sqlalchemy import URL, inspect, text

from lbench.home import Home
from lbench.store.engine import connected, store_url

EXPERIMENT = "runs"
COLUMNS = {
    "attributes.`Run Name`": 380,
    "params.`rule`": 100,
    "params.`task.dataset`": 110,
    "params.`network`": 100,
    "metrics.`test_error_mean`": 120,
    "metrics.`test_error_ci95_low`": 140,
    "metrics.`test_error_ci95_high`": 140,
    "metrics.`n`": 50,
    "metrics.`test_error`": 90,
    "metrics.`val_error`": 90,
    "metrics.`system/step_ms`": 120,
    "tags.`lbench.status`": 150,
}
"""Width in pixels of each column, in their order."""

VIEW = "mlflow.sharedViewState.lbench"
"""A tag of every experiment that lbench creates."""
EXPERIMENT_TAGS = {
    # Without this tag the sidebar is that of language model applications.
    "mlflow.experimentKind": "custom_model_development",
    # The page's Share button writes such a value; the key in the address selects it.
    VIEW: json.dumps(
        {
            "selectedColumns": list(COLUMNS),
            "columnOrder": list(COLUMNS),
            "columnWidths": COLUMNS,
            "orderByKey": "attributes.start_time",
            "orderByAsc": False,
        }
    ),
}
# The sidebar for training, not the one for applications of language models.
QUERY = "workflowType=machine_learning&viewStateShareKey=lbench"


# For a plain sqlite:/// MLflow creates the directory, with %20 for a space in its name.
SQLITE = "sqlite+pysqlite"


def mlflow_uri(home: Home) -> str:
    """Return the URI of the store for MLflow, including the password.

    Raises:
        StoreError: ``LBENCH_STORE`` is no URL of a database.
    """
    url = store_url(home)
    if url.drivername == "sqlite":
        url = url.set(drivername=SQLITE)
    return url.render_as_string(hide_password=False)


def sqlite_uri(file: Path) -> str:
    """Return the URI of a SQLite file for MLflow."""
    return URL.create(SQLITE, database=str(file)).render_as_string()


def runs_page(home: Home) -> str | None:
    """Return the page's part of the address; None while MLflow has no runs.

    Raises:
        StoreError: the store cannot be reached.
    """
    if not has_mlflow(home):
        return None
    # If there are only studies, the page of the latest study is shown.
    query = text(
        "SELECT experiment_id FROM experiments WHERE lifecycle_stage = 'active' "
        "ORDER BY name = :name DESC, experiment_id DESC"
    )
    with connected(home) as engine, engine.connect() as connection:
        experiment = connection.scalar(query, {"name": EXPERIMENT})
    return None if experiment is None else f"/#/experiments/{experiment}/runs?{QUERY}"


def has_mlflow(home: Home) -> bool:
    """Return whether MLflow's tables are in the store.

    Raises:
        StoreError: the store cannot be reached.
    """
    with connected(home) as engine:
        return inspect(engine).has_table("experiments")
