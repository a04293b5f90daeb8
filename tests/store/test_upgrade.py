"""The upgrade of a store with rows that an older lbench wrote."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, select

from lbench.home import Home
from lbench.rundir import RunDir, read_json, write_json
from lbench.store.engine import _upgrade, connect
from lbench.store.models import SCHEMA, VERSION
from lbench.store.record import Record
from lbench.store.run_dir_reader import read
from lbench.store.sync import sync
from tests.store.helper import write_run

FIRST = """
CREATE TABLE lbench_schema (version INTEGER NOT NULL, PRIMARY KEY (version));
CREATE TABLE lbench_cells (
    id INTEGER NOT NULL, fingerprint VARCHAR(64) NOT NULL, cell_id VARCHAR NOT NULL,
    rule VARCHAR NOT NULL, rule_code VARCHAR NOT NULL, dataset VARCHAR NOT NULL,
    dataset_title VARCHAR NOT NULL, variant VARCHAR NOT NULL, data_digest VARCHAR NOT NULL,
    network VARCHAR NOT NULL, blocks INTEGER, protocol VARCHAR NOT NULL, test_examples INTEGER,
    spec JSON NOT NULL, params_inf INTEGER, params_aux INTEGER, params_fix INTEGER,
    claims JSON NOT NULL, mlflow_run_id VARCHAR, PRIMARY KEY (id), UNIQUE (fingerprint)
);
CREATE INDEX ix_lbench_cells_rule ON lbench_cells (rule);
CREATE INDEX ix_lbench_cells_cell_id ON lbench_cells (cell_id);
CREATE TABLE lbench_runs (
    id INTEGER NOT NULL, fingerprint VARCHAR(64) NOT NULL, attempt INTEGER NOT NULL,
    cell VARCHAR(64) NOT NULL, seed INTEGER NOT NULL, status VARCHAR NOT NULL, reason VARCHAR,
    train_error FLOAT, val_error FLOAT, test_error FLOAT, test_error_at_best_val FLOAT,
    best_epoch INTEGER, seconds_training FLOAT, seconds_evaluation FLOAT, seconds_other FLOAT,
    step_ms FLOAT, peak_memory_mib FLOAT, steps INTEGER, epochs INTEGER,
    test_reads INTEGER NOT NULL, environment JSON NOT NULL, run_dir VARCHAR NOT NULL,
    started FLOAT, ended FLOAT, mlflow_run_id VARCHAR, PRIMARY KEY (id),
    UNIQUE (fingerprint, attempt), FOREIGN KEY(cell) REFERENCES lbench_cells (fingerprint)
);
CREATE INDEX ix_lbench_runs_cell ON lbench_runs (cell);
INSERT INTO lbench_schema VALUES (1);
"""
"""The tables of version 1."""

AUDIT = {"bp_free": {"claimed": True, "measured": False}}


@pytest.fixture
def run_dirs(home: Home) -> list[RunDir]:
    """Return the directories of two runs in a store of version 1."""
    directories = [write_run(home, seed) for seed in range(2)]
    with sqlite3.connect(home.root / "store.db") as connection:
        connection.executescript(FIRST)
        for run_dir in directories:
            cell, run = read(run_dir, home.runs)
            assert (run.pop("audit"), run.pop("contradictions")) == (None, [])
            del run["step_memory_mib"], run["step_flops"], run["core_share"]
            del run["predict_flops"], cell["per_block"]
            del run["val_error_top5"], run["test_error_top5"], run["test_error_top5_at_best_val"]
            for table, row in (("lbench_cells", cell), ("lbench_runs", run)):
                values = [json.dumps(v) if isinstance(v, dict) else v for v in row.values()]
                marks = ", ".join("?" * len(row))
                connection.execute(
                    f"INSERT OR IGNORE INTO {table} ({', '.join(row)}) VALUES ({marks})", values
                )
    connection.close()
    return directories


def columns(engine: Engine) -> dict[str, set[tuple[str, str, bool]]]:
    tables = inspect(engine)
    return {
        name: {(c["name"], str(c["type"]), c["nullable"]) for c in tables.get_columns(name)}
        for name in ("lbench_schema", "lbench_cells", "lbench_runs", "lbench_members")
    }


def test_old_rows_stay_without_an_audit(home: Home, run_dirs: list[RunDir]) -> None:
    with Record.open(home) as record:
        (cell,) = record.cells()
        rows = record.runs(cell)
        assert cell.claims == {"bp_free": True, "backward_depth": 0, "update_locked": False}
        assert cell.per_block is None
        assert [row.test_error for row in rows] == [1.8, 1.85]
        assert [(row.audit, row.contradictions) for row in rows] == [(None, [])] * 2
        with record._engine.connect() as connection:
            assert connection.scalar(select(SCHEMA.c.version)) == VERSION


def test_sync_fills_new_columns_from_run_directories(home: Home, run_dirs: list[RunDir]) -> None:
    path = run_dirs[1].path / "result.json"
    more = {
        "audit": AUDIT,
        "contradictions": ["bp_free: claimed yes, measured no"],
        "predict_flops": 548_080.0,
    }
    write_json(path, {**(read_json(path) or {}), **more})
    sync(home, mlflow=False)
    with Record.open(home) as record:
        first, second = record.runs(record.cells()[0])
    assert [row.measured["predict_flops"] for row in (first, second)] == [None, 548_080.0]
    assert (first.audit, first.contradictions) == (None, [])
    assert (second.audit, second.contradictions) == (AUDIT, more["contradictions"])


def test_an_upgraded_store_has_the_columns_of_a_new_one(
    home: Home, run_dirs: list[RunDir], tmp_path: Path
) -> None:
    old, new = connect(home), connect(Home(tmp_path / "new"))
    assert columns(old) == columns(new)
    _upgrade(old)  # like a process that read version 1 too and then waited for the lock
    assert columns(old) == columns(new)
    old.dispose()
    new.dispose()
