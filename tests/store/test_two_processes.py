from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lbench.home import Home
from lbench.store.record import Record
from tests.store.helper import write_run

TAKE = """
import sys
from pathlib import Path
from lbench.home import Home
from lbench.rundir import RunDir
from lbench.store.record import Record
home = Home(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for path in sys.argv[2:]:
    # The record is opened each time, so that both create the tables and switch to WAL at once.
    with Record.open(home) as record:
        record.take(RunDir(Path(path)))
        record.take(RunDir(Path(path)))
        record.cells()
"""


@pytest.mark.parametrize("shared", [False, True])
def test_two_drivers_share_a_store(home: Home, shared: bool) -> None:
    dirs = [str(write_run(home, seed, epochs=1).path) for seed in range(40)]
    halves = (dirs[:20], dirs[:20]) if shared else (dirs[:20], dirs[20:])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TAKE, str(home.root), *half],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for half in halves
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, stderr = process.communicate(timeout=60)
        assert (process.returncode, stderr) == (0, "")
    with Record.open(home) as record:
        (cell,) = record.cells()
        assert len(record.runs(cell)) == (20 if shared else 40)
    assert integrity(home.root / "store.db") == "ok"


def integrity(file: Path) -> str:
    import sqlite3

    connection = sqlite3.connect(file)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()
