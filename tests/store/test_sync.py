from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from lbench.cli.sync import command
from lbench.cli.ui import command as ui
from lbench.execute.writer import Writer
from lbench.home import Home
from lbench.store.mlflow_view import MlflowView
from lbench.store.record import Record
from lbench.store.sync import sync
from tests.store.helper import write_run

LBENCH = [sys.executable, "-c", "from lbench.cli.main import main; main()"]


def test_sync_rebuilds_a_lost_record(home: Home) -> None:
    for seed in range(2):
        write_run(home, seed)
    write_run(home, 2, status="killed")
    result = sync(home, mlflow=False)
    assert (result.cells, result.runs, result.published) == (1, 3, None)
    assert result.statuses == {"finished": 2, "killed": 1}
    with Record.open(home) as record:
        before = record.runs(record.cells()[0])
    for file in home.root.glob("store.db*"):
        file.unlink()
    sync(home, mlflow=False)
    with Record.open(home) as record:
        assert record.runs(record.cells()[0]) == before


def test_a_damaged_directory_does_not_stop_the_sync(home: Home) -> None:
    for seed in range(4):
        write_run(home, seed)
    (first, second, *_) = sorted(home.runs.glob("*/*"))
    (first / "spec.json").unlink()
    (second / "result.json").write_text("{")
    (home.runs / "x" / "empty").mkdir(parents=True)
    result = sync(home, mlflow=False)
    assert result.runs == 2
    assert set(result.unreadable) == {first, second}
    assert "spec.json" in result.unreadable[first]


def test_the_command_prints_counts_and_what_it_left_out(mlflow_home: Home) -> None:
    write_run(mlflow_home)
    broken = write_run(mlflow_home, 1).path
    (broken / "spec.json").write_text("{")
    arguments = ["--home", str(mlflow_home.root)]
    shown = CliRunner().invoke(command, arguments)
    assert shown.exit_code == 0
    assert "1 run of 1 configuration: 1 finished." in shown.stdout
    assert f"lbench ui --home {mlflow_home.root}\n" in shown.stdout
    assert str(broken) in shown.stderr
    report = json.loads(CliRunner().invoke(command, [*arguments, "--json"]).stdout)
    assert report["published"] == 1
    assert list(report["unreadable"]) == [str(broken)]


def test_an_empty_home_has_nothing_to_sync(home: Home) -> None:
    shown = CliRunner().invoke(command, ["--home", str(home.root)])
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "There are no run directories" in shown.stdout
    assert not home.root.exists()


def test_unreadable_directories_are_not_reported_as_absent(home: Home) -> None:
    (write_run(home).path / "spec.json").write_text("{")
    shown = CliRunner().invoke(command, ["--home", str(home.root), "--no-mlflow"])
    assert shown.exit_code == 0
    assert "No run directory could be read" in shown.stdout
    assert "spec.json is damaged" in shown.stderr


def test_sync_keeps_the_metrics_that_a_run_published(mlflow_home: Home) -> None:
    run_dir = write_run(mlflow_home)
    with Writer(mlflow_home, pytest.fail) as writer:
        row = writer.take(run_dir)
        assert row is not None
        writer.publish(row.cell)
    before = parent_metrics(mlflow_home)
    assert {"val_error", "seconds_training_mean", "not_finished"} <= set(before)
    CliRunner().invoke(command, ["--home", str(mlflow_home.root)], catch_exceptions=False)
    assert parent_metrics(mlflow_home) == before


def parent_metrics(home: Home) -> dict[str, float]:
    view = MlflowView(home)
    query = "tags.`lbench.kind` = 'cell'"
    (parent,) = view._client.search_runs(view.experiments(), query)
    return dict(parent.data.metrics)


def test_a_writer_closes_the_store(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Record] = []
    monkeypatch.setattr(Record, "close", lambda record: closed.append(record))
    with Writer(home, pytest.fail) as writer:
        writer.take(write_run(home))
        assert not closed
    assert len(closed) == 1


def test_the_ui_without_a_store_names_the_command(home: Home) -> None:
    error = CliRunner().invoke(ui, ["--home", str(home.root)]).exception
    assert "no store" in str(error)
    write_run(home)
    sync(home, mlflow=False)
    error = CliRunner().invoke(ui, ["--home", str(home.root)]).exception
    assert f"lbench sync --home {home.root}" in getattr(error, "hint", "")


@pytest.fixture
def shown_home(mlflow_home: Home) -> Home:
    """Return a home with one run that is published in MLflow."""
    write_run(mlflow_home)
    sync(mlflow_home)
    return mlflow_home


def test_the_hint_for_a_taken_port_names_a_free_one(shown_home: Home) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        arguments = ["--home", str(shown_home.root), "--port", str(port)]
        error = CliRunner().invoke(ui, arguments).exception
    assert f"Port {port}" in str(error)
    hint = rf"lbench ui --port \d+ --home {re.escape(str(shown_home.root))}"
    assert re.search(hint, getattr(error, "hint", ""))


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs the processes in /proc")
def test_the_ui_shows_the_runs_and_leaves_no_process(shown_home: Home) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["ui", "--home", str(shown_home.root), "--port", str(port)]
    # Tests in the background of a shell inherit that interrupts are ignored.
    with subprocess.Popen(
        [*LBENCH, *words],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert f"http://127.0.0.1:{port}/#/experiments/1/runs" in line
        assert servers(port)
        for host in ("127.0.0.1", "localhost"):
            with urllib.request.urlopen(f"http://{host}:{port}/") as page:
                assert page.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert not servers(port)


def servers(port: int) -> list[str]:
    """Return the command lines of uvicorn's processes on this port."""
    commands = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = file.read_text().split("\0")
            if str(port) in words and "uvicorn" in words:
                commands.append(" ".join(words))
    return commands
