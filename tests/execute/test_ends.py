"""Workers, drivers and pools that come to their end: killed, told to end, closed, interrupted."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lbench.execute.messages import Note, Progress, Started
from lbench.execute.pool import Pool
from lbench.home import Home
from lbench.rundir import RunDir
from tests import forked
from tests.execute import driver
from tests.execute.helper import PATIENCE, PERILOUS, drive, end, job, only, process_of
from tests.run.helper import ask, journal, run
from tests.run.test_resume import assert_equal_runs


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Pool]:
    """One that may come to harm."""
    with Pool(
        Home(tmp_path), ["cpu"], threads=1, checkpoint_every=0, plugin_files=[PERILOUS]
    ) as pool:
        yield pool


def test_a_job_whose_worker_is_killed_goes_on_in_another(
    worker: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LBENCH_TEST_DIED", str(tmp_path / "died"))
    told = drive(worker, job("mortal"))
    (note,) = [each for each in only(told, Note) if "worker" in each.text]
    assert note.text == "Its worker died: signal 9; another goes on."
    assert (end(told).status, end(told).attempt) == ("finished", 1)
    assert len(only(told, Started)) == 2
    assert [row["epoch"] for row in journal(end(told).run_dir)] == [1, 2, 3]
    with Pool(Home(tmp_path / "straight"), ["cpu"], threads=1, plugin_files=[PERILOUS]) as other:
        straight = end(drive(other, job("mortal")))
    assert_equal_runs(str(straight.run_dir), str(end(told).run_dir))


def test_a_job_that_takes_every_worker_with_it_is_given_up(worker: Pool) -> None:
    told = drive(worker, job("doomed"))
    ended = end(told)
    assert (ended.status, ended.result["reason"]) == ("killed", "worker died: signal 9")
    assert ended.run_dir is not None
    assert not (ended.run_dir / "result.json").exists()
    assert end(drive(worker, job("bp"))).status == "finished"


def test_a_rule_that_raises_ends_its_run_and_its_worker(worker: Pool) -> None:
    first = end(drive(worker, job("bp")))
    told = drive(worker, job("broken"))
    assert (end(told).status, end(told).kind) == ("failed", None)
    reason, run_dir = end(told).result["reason"], end(told).run_dir
    assert re.fullmatch(r"RuntimeError: no such kernel \(perilous\.py:\d+\)", reason)
    assert run_dir is not None
    assert "in loss" in RunDir(run_dir).traceback.read_text()
    assert process_of(end(told)) == process_of(first)
    assert process_of(end(drive(worker, job("bp", seed=1)))) != process_of(first)
    again = drive(worker, job("broken"))
    assert (end(again).status, end(again).attempt) == ("failed", 2)


def test_a_rule_that_ends_its_process_has_failed_with_its_line(worker: Pool) -> None:
    told = end(drive(worker, job("leaving")))
    assert told.status == "failed"
    assert re.search(r"os\._exit\(0\) was called.*\(perilous\.py:\d+\)", told.result["reason"])


def test_a_worker_that_is_told_to_end_leaves_its_job_to_another(worker: Pool) -> None:
    ended: list[int] = []

    def terminate(event: object) -> None:
        if isinstance(event, Progress) and not ended:
            (path,) = worker._workers[0].setup.home.runs.glob("*/*/owner.json")
            ended.append(int(path.read_text().split('"pid": ')[1].split(",")[0]))
            os.kill(ended[0], signal.SIGTERM)

    told = drive(worker, job("bp", epochs=12), each=terminate)
    assert ended
    assert "Its worker was told to end; another goes on." in [n.text for n in only(told, Note)]
    assert end(told).status == "finished"
    assert process_of(end(told)) != ended[0]


def test_what_a_rule_prints_is_not_the_drivers_output(
    interpreters: None, worker: Pool, capfd: pytest.CaptureFixture[str]
) -> None:
    drive(worker, job("chatty"))
    out, err = capfd.readouterr()
    assert "chatty" not in out
    assert "chatty at 0" in err


def first_epoch(home: Path, alive: Callable[[], bool]) -> Path:
    """The directory of the driver's run, when it has an epoch behind it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := list(home.glob("runs/*/*/metrics.jsonl"))):
        assert alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found[0].parent


def test_a_killed_driver_leaves_no_worker_and_its_run_goes_on(tmp_path: Path) -> None:
    home, script = tmp_path / "killed", Path(driver.__file__)
    with subprocess.Popen([sys.executable, str(script), str(home), "20"]) as process:
        run_dir = first_epoch(home, lambda: process.poll() is None)
        process.kill()
    # At once: its worker may still be about to write its checkpoint.
    with Pool(Home(home), ["cpu"], threads=1, checkpoint_every=0) as pool:
        told = drive(pool, job("bp", epochs=20))
    (started,) = only(told, Started)
    assert (started.run_dir, started.attempt) == (run_dir, 1)
    straight = run(tmp_path / "straight", ask(epochs=20))[0]
    assert_equal_runs(str(straight.run_dir), str(run_dir))


def test_a_worker_ends_with_its_driver_and_writes_a_checkpoint(tmp_path: Path) -> None:
    process = forked.CONTEXT.Process(target=driver.drive, args=(tmp_path, 100000))
    process.start()
    run_dir = first_epoch(tmp_path, process.is_alive)
    worker = int((run_dir / "owner.json").read_text().split('"pid": ')[1].split(",")[0])
    process.kill()
    process.join()
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{worker}/stat").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert list(run_dir.glob("checkpoint-?.pt"))
    assert RunDir(run_dir).result() is None
    assert not RunDir(run_dir).held()


def test_a_pool_that_is_closed_early_leaves_a_checkpoint_and_no_process(tmp_path: Path) -> None:
    with Pool(Home(tmp_path), ["cpu"], threads=1, checkpoint_every=1e9) as pool:
        pool.submit(job("bp", epochs=100000))
        while not any(isinstance(event, Progress) for event in pool.events(30)):
            pass
    (run_dir,) = tmp_path.glob("runs/*/*")
    assert list(run_dir.glob("checkpoint-?.pt"))
    assert not RunDir(run_dir).held()


def test_a_second_interrupt_waits_for_no_checkpoint(tmp_path: Path) -> None:
    before = set(multiprocessing.active_children())
    pool = Pool(Home(tmp_path), ["cpu"], threads=1, checkpoint_every=1e9)
    pool.submit(job("bp", epochs=100000))
    while not any(isinstance(event, Progress) for event in pool.events(30)):
        pass
    (process,) = set(multiprocessing.active_children()) - before
    pool.__exit__(KeyboardInterrupt)
    assert process.exitcode == -signal.SIGKILL
    (run_dir,) = tmp_path.glob("runs/*/*")
    assert not RunDir(run_dir).held()
