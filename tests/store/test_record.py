from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import exc, insert, update

from lbench.errors import DamagedError, StoreError, UsageError
from lbench.home import Home
from lbench.rundir import RunDir
from lbench.store.engine import writing
from lbench.store.models import RUNS, SCHEMA
from lbench.store.record import Record
from tests.store.helper import cell_spec, digest, write_run

HOLD = """
import sys, time
from pathlib import Path
from lbench.rundir import RunDir
with RunDir(Path(sys.argv[1])).locked():
    print("in", flush=True)
    time.sleep(60)
"""


def test_recording_a_directory_twice_changes_nothing(home: Home, record: Record) -> None:
    run_dir = write_run(home)
    first = record.take(run_dir)
    assert record.take(run_dir) == first
    assert len(record.cells()) == 1
    assert record.runs(record.cells()[0], all_attempts=True) == [first]
    assert first.status == "finished"
    assert first.test_error == 1.8
    assert first.run_dir == run_dir.path


def test_a_running_run_becomes_the_finished_one(home: Home, record: Record) -> None:
    run_dir = write_run(home, status="killed", epochs=3)
    with run_dir.locked():
        running = record.take(run_dir)
    assert (running.status, running.ended, running.test_error) == ("running", None, None)
    record.set_mlflow(running, "abc")
    finished = record.take(write_run(home))
    assert (finished.status, finished.mlflow_run_id) == ("finished", "abc")
    assert record.runs(record.cells()[0], all_attempts=True) == [finished]


def test_a_killed_process_leaves_a_killed_run(home: Home, record: Record) -> None:
    run_dir = write_run(home, status="killed", epochs=2)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run_dir.path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert record.take(run_dir).status == "running"
        process.kill()
        process.wait()
    (row,) = record.runs(record.cells()[0])
    assert row.status == "killed", "the killed process could not record its end"
    assert row.reason
    assert row.ended == pytest.approx(run_dir.epoch_log.stat().st_mtime, abs=1)
    assert record.take(run_dir) == row


def test_a_running_run_of_another_machine_stays_running(home: Home, record: Record) -> None:
    run_dir = write_run(home, status="killed", epochs=2)
    with run_dir.locked():
        record.take(run_dir)
    shutil.rmtree(run_dir.path)
    (row,) = record.runs(record.cells()[0])
    assert row.status == "running"


def test_the_database_refuses_a_second_row_of_an_attempt(home: Home, record: Record) -> None:
    row = record.take(write_run(home))
    values = {
        "fingerprint": row.fingerprint,
        "attempt": row.attempt,
        "cell": row.cell,
        "seed": 0,
        "status": "finished",
        "test_reads": 0,
        "environment": {},
        "run_dir": "elsewhere",
    }
    with pytest.raises(exc.IntegrityError), writing(record._engine) as connection:
        connection.execute(insert(RUNS).values(values))


def test_the_database_refuses_a_run_without_its_cell(home: Home, record: Record) -> None:
    record.take(write_run(home))
    with pytest.raises(exc.IntegrityError), writing(record._engine) as connection:
        connection.execute(update(RUNS).values(cell="unknown"))


def test_the_runs_are_the_latest_attempts_unless_all_are_asked_for(
    home: Home, record: Record
) -> None:
    write_run(home)
    second = record.take(write_run(home, attempt=2))
    first = record.take(write_run(home))
    cell = record.cells()[0]
    assert record.runs(cell) == [second]
    assert record.runs(cell, all_attempts=True) == [first, second]


def test_nan_in_a_result_is_damage(home: Home, record: Record) -> None:
    run_dir = write_run(home, status="diverged", reason="loss nan at step 17")
    path = run_dir.path / "result.json"
    path.write_text(path.read_text().replace('"val_error": 2', '"val_error": NaN, "x": 2'))
    with pytest.raises(DamagedError, match="NaN is no number"):
        record.take(run_dir)


def test_an_audit_is_recorded_with_its_contradictions(home: Home, record: Record) -> None:
    audit = {"writes": {"claimed": "own", "measured": "foreign"}, "couples": {"measured": "none"}}
    contradictions = ["writes: fc2.weight was changed (step 1 of the run)"]
    row = record.take(write_run(home, audit=audit, contradictions=contradictions))
    assert row.audit == {
        "writes": {"claimed": "own", "measured": "foreign"},
        "couples": {"claimed": None, "measured": "none"},
    }
    assert row.contradictions == contradictions
    assert record.take(write_run(home, audit=None)).audit is None


@pytest.mark.parametrize(
    "changes", [{"audit": []}, {"audit": {"writes": "own"}}, {"contradictions": [3]}]
)
def test_an_audit_of_another_form_is_damage(
    home: Home, record: Record, changes: dict[str, object]
) -> None:
    with pytest.raises(DamagedError, match="is damaged"):
        record.take(write_run(home, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["spec.json", "result.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 1}', "\x00\x01"])
def test_a_damaged_file_is_reported_and_leaves_the_record_unchanged(
    home: Home, record: Record, name: str, content: str
) -> None:
    run_dir = write_run(home)
    before = record.take(run_dir)
    (run_dir.path / name).write_text(content)
    with pytest.raises(DamagedError, match="seed-0"):
        record.take(run_dir)
    assert record.runs(record.cells()[0]) == [before]


def test_a_directory_of_a_later_format_is_refused(home: Home, record: Record) -> None:
    run_dir = write_run(home)
    path = run_dir.path / "spec.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(DamagedError, match="format 2") as error:
        record.take(run_dir)
    assert "newer" in error.value.hint


def test_older_code_returns_configurations_that_differ_only_in_code(
    home: Home, record: Record
) -> None:
    for spec in (cell_spec(code="old"), cell_spec(code="new"), cell_spec(code="old", leadership=1)):
        record.take(write_run(home, spec=spec))
    record.take(write_run(home, spec=cell_spec("bp", code="old")))
    assert [cell.spec for cell in record.older_code(cell_spec(code="new"))] == [
        cell_spec(code="old")
    ]


def test_test_reads_are_counted_over_all_attempts(home: Home, record: Record) -> None:
    for attempt in (1, 2):
        record.take(write_run(home, attempt=attempt))
    record.take(write_run(home, spec=cell_spec("lfnn_l", "digits")))
    assert record.test_reads() == {digest("digits"): 2, digest("mnist"): 4}


def test_a_home_can_be_moved(home: Home, tmp_path: Path) -> None:
    with Record.open(home) as record:
        record.take(write_run(home))
    moved = Home(tmp_path / "moved")
    home.root.rename(moved.root)
    with Record.open(moved) as record:
        row = record.runs(record.cells()[0])[0]
    assert RunDir(row.run_dir).result() is not None


def test_the_error_for_a_damaged_store_names_the_run_directories(home: Home) -> None:
    home.root.mkdir()
    (home.root / "store.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError) as error:
        Record.open(home)
    assert error.value.exit_code == 4
    assert str(home.runs) in error.value.hint
    assert "lbench sync" in error.value.hint


def test_damage_inside_a_store_is_a_store_error(home: Home) -> None:
    with Record.open(home) as record:
        for seed in range(5):
            record.take(write_run(home, seed))
    file = home.root / "store.db"
    content = file.read_bytes()
    file.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(StoreError), Record.open(home) as record:
        record.cells()


def test_a_store_that_cannot_be_created_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        Record.open(Home(tmp_path / "file" / "home"))


@pytest.mark.parametrize(
    "url",
    [
        "mysql://h/d",
        "nonsense",
        "postgresql+unknown://h/d",
        "postgresql+psycopg://u:secret@h:abc/db",
        "secret",
    ],
)
def test_an_invalid_url_is_a_store_error_without_its_password(
    home: Home, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("LBENCH_STORE", url)
    with pytest.raises(StoreError) as error:
        Record.open(home)
    assert "secret" not in error.value.message + error.value.hint


def test_a_store_of_a_newer_version_asks_for_an_upgrade(home: Home) -> None:
    with Record.open(home) as record, writing(record._engine) as connection:
        connection.execute(update(SCHEMA).values(version=99))
    with pytest.raises(StoreError, match="newer") as error:
        Record.open(home)
    assert "Upgrade" in error.value.hint


def test_an_unknown_configuration_gets_similar_ids(home: Home, record: Record) -> None:
    record.take(write_run(home))
    with pytest.raises(UsageError, match="Unknown configuration") as error:
        record.cell("lfnn/mnist")
    assert "lfnn_l/mnist" in error.value.hint
    assert "lbench compare" in error.value.hint
