"""The ends of workers, drivers and pools: killed, terminated, closed, interrupted."""

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

from lbench.execute.messages import Note, Started, StepProgress
from lbench.execute.pool import Pool
from lbench.home import Home
from lbench.rundir import RunDir
from tests import forked
from tests.execute import driver
from tests.execute.helper import PATIENCE, PERILOUS, drive, end, job, only, process_of
from tests.training.helper import ask, epoch_log, run
from tests.training.test_resume import assert_equal_runs


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Pool]:
    """Yield a pool with one worker that tests may kill."""
    with Pool(
        Home(tmp_path), ["cpu"], threads=1, checkpoint_every=0, plugin_files=[PERILOUS]
    ) as pool:
        yield pool


def test_a_job_whose_worker_is_killed_continues_in_another(
    worker: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LBENCH_TEST_DIED", str(tmp_path / "died"))
    events = drive(worker, job("mortal"))
    (note,) = [note for note in only(events, Note) if "worker" in note.text]
    assert note.text == "Its worker died: signal 9; another continues."
    assert (end(events).status, end(events).attempt) == ("finished", 1)
    assert len(only(events, Started)) == 2
    assert [row["epoch"] for row in epoch_log(end(events).run_dir)] == [1, 2, 3]
    with Pool(Home(tmp_path / "straight"), ["cpu"], threads=1, plugin_files=[PERILOUS]) as other:
        straight = end(drive(other, job("mortal")))
    assert_equal_runs(str(straight.run_dir), str(end(events).run_dir))


def test_a_job_that_kills_every_worker_ends_as_killed(worker: Pool) -> None:
    events = drive(worker, job("doomed"))
    ended = end(events)
    assert (ended.status, ended.result["reason"]) == ("killed", "worker died: signal 9")
    assert ended.run_dir is not None
    assert not (ended.run_dir / "result.json").exists()
    assert end(drive(worker, job("bp"))).status == "finished"


def test_a_rule_that_raises_ends_its_run_and_its_worker(worker: Pool) -> None:
    first = end(drive(worker, job("bp")))
    events = drive(worker, job("broken"))
    assert (end(events).status, end(events).kind) == ("failed", None)
    reason, run_dir = end(events).result["reason"], end(events).run_dir
    assert re.fullmatch(r"RuntimeError: no such kernel \(perilous\.py:\d+\)", reason)
    assert run_dir is not None
    assert "in loss" in RunDir(run_dir).traceback.read_text()
    assert process_of(end(events)) == process_of(first)
    assert process_of(end(drive(worker, job("bp", seed=1)))) != process_of(first)
    again = drive(worker, job("broken"))
    assert (end(again).status, end(again).attempt) == ("failed", 2)


def test_a_rule_that_ends_its_process_fails_with_the_line_of_its_code(worker: Pool) -> None:
    events = end(drive(worker, job("leaving")))
    assert events.status == "failed"
    assert re.search(r"os\._exit\(0\) was called.*\(perilous\.py:\d+\)", events.result["reason"])


def test_the_job_of_a_terminated_worker_continues_in_another(worker: Pool) -> None:
    ended: list[int] = []

    def terminate(event: object) -> None:
        if isinstance(event, StepProgress) and not ended:
            (path,) = worker._workers[0].setup.home.runs.glob("*/*/owner.json")
            ended.append(int(path.read_text().split('"pid": ')[1].split(",")[0]))
            os.kill(ended[0], signal.SIGTERM)

    events = drive(worker, job("bp", epochs=12), observe=terminate)
    assert ended
    assert "Its worker received a signal to end; another continues." in [
        n.text for n in only(events, Note)
    ]
    assert end(events).status == "finished"
    assert process_of(end(events)) != ended[0]


def test_a_rule_does_not_print_to_the_drivers_output(
    interpreters: None, worker: Pool, capfd: pytest.CaptureFixture[str]
) -> None:
    drive(worker, job("chatty"))
    out, err = capfd.readouterr()
    assert "chatty" not in out
    assert "chatty at 0" in err


def first_epoch(home: Path, alive: Callable[[], bool]) -> Path:
    """Wait for the first epoch of the driver's run, and return the run's directory."""
    deadline = time.monotonic() + PATIENCE
    while not (logs := list(home.glob("runs/*/*/metrics.jsonl"))):
        assert alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return logs[0].parent


def test_a_killed_driver_leaves_no_worker_and_its_run_continues(tmp_path: Path) -> None:
    home, script = tmp_path / "killed", Path(driver.__file__)
    with subprocess.Popen([sys.executable, str(script), str(home), "20"]) as process:
        run_dir = first_epoch(home, lambda: process.poll() is None)
        process.kill()
    # Without a pause: the worker may still be about to write its checkpoint.
    with Pool(Home(home), ["cpu"], threads=1, checkpoint_every=0) as pool:
        events = drive(pool, job("bp", epochs=20))
    (started,) = only(events, Started)
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
        while not any(isinstance(event, StepProgress) for event in pool.events(30)):
            pass
    (run_dir,) = tmp_path.glob("runs/*/*")
    assert list(run_dir.glob("checkpoint-?.pt"))
    assert not RunDir(run_dir).held()


def test_a_second_interrupt_waits_for_no_checkpoint(tmp_path: Path) -> None:
    before = set(multiprocessing.active_children())
    pool = Pool(Home(tmp_path), ["cpu"], threads=1, checkpoint_every=1e9)
    pool.submit(job("bp", epochs=100000))
    while not any(isinstance(event, StepProgress) for event in pool.events(30)):
        pass
    (process,) = set(multiprocessing.active_children()) - before
    pool.__exit__(KeyboardInterrupt)
    assert process.exitcode == -signal.SIGKILL
    (run_dir,) = tmp_path.glob("runs/*/*")
    assert not RunDir(run_dir).held()
