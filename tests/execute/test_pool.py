"""Pools of real processes: parallel runs, pruning, stops, locks, replaced workers."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest

from lbench.execute import pool as pools
from lbench.execute.messages import Ended, Epoch, Note, Started, StepProgress
from lbench.execute.pool import Pool
from lbench.home import Home
from lbench.processes import starting_processes
from lbench.rundir import RunDir
from tests.execute.helper import drive, end, job, only, process_of
from tests.training.helper import ask, epoch_log, run
from tests.training.test_resume import assert_equal_runs


@pytest.fixture(scope="module")
def _two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    home = Home(tmp_path_factory.mktemp("home"))
    with Pool(home, ["cpu", "cpu"], threads=1, checkpoint_every=1e9, patience=2) as pool:
        yield pool


@pytest.fixture
def workers(_two: Pool, interpreters: None) -> Pool:
    """Return a shared pool of two workers, which tests do not kill; options differ by test."""
    return _two


def lr(value: float) -> dict[str, dict[str, float]]:
    return {"recipe": {"lr": value}}


def test_parallel_runs_are_bit_identical_to_single_ones(workers: Pool, tmp_path: Path) -> None:
    events = drive(workers, job("bp"), job("lfnn_l"), job("lfnn"))
    pids = set()
    for rule in ("bp", "lfnn_l", "lfnn"):
        ended = end(events, rule)
        (started,) = only(events, Started, rule)
        single = run(tmp_path, ask(rule, epochs=3))[0]
        assert (ended.status, ended.cached, ended.attempt, ended.kind) == (
            "finished", False, 1, None,
        )  # fmt: skip
        assert_equal_runs(str(single.run_dir), str(ended.run_dir))
        assert ended.result == RunDir(ended.run_dir).result()
        assert ended.result["test_error"] == single.result["test_error"]
        assert started == Started(
            rule,
            ask(rule, epochs=3).cell.fingerprint,
            single.fingerprint,
            ask(rule, epochs=3).cell.id,
            1,
            ended.run_dir,
            3 * 41,
            41,
        )
        pids.add(process_of(ended))
        assert not only(events, Epoch, rule)
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_a_pruned_run_sends_its_history_again_and_continues(workers: Pool, tmp_path: Path) -> None:
    settings = {"rule": "lfnn_l", "epochs": 5, "trial": True, "watch": True, **lr(0.002)}
    straight = run(tmp_path, ask("lfnn_l", epochs=5, **lr(0.002)))[0]

    def high(epoch: Epoch) -> str | None:
        return "pruned at epoch 2: too high" if epoch.row["epoch"] == 2 else None

    cut = drive(workers, job(**settings), answer=high)
    assert (end(cut).status, end(cut).result["reason"]) == ("pruned", "pruned at epoch 2: too high")
    assert [epoch.row["epoch"] for epoch in only(cut, Epoch)] == [1, 2]

    def low(epoch: Epoch) -> str | None:
        return "pruned at epoch 1: too low" if epoch.row["epoch"] == 1 else None

    again = drive(workers, job(**settings), answer=low)
    assert [epoch.row["epoch"] for epoch in only(again, Epoch)] == [1]
    assert end(again).result["reason"] == "pruned at epoch 1: too low"
    assert (end(again).status, end(again).result["steps"]) == ("pruned", 2 * 41)
    assert len(epoch_log(end(again).run_dir)) == 2

    whole = drive(workers, job(**settings))
    assert [epoch.row["epoch"] for epoch in only(whole, Epoch)] == [1, 2, 3, 4, 5]
    assert (end(whole).status, end(whole).attempt, end(whole).cached) == ("finished", 1, False)
    assert end(whole).result["val_error"] == straight.result["val_error"]
    assert_equal_runs(str(straight.run_dir), str(end(whole).run_dir))

    events = drive(workers, job(**settings), answer=high)
    assert only(events, Epoch) == only(whole, Epoch)
    assert (end(events).status, end(events).cached) == ("finished", True)
    assert len(only(events, Started)) == 1


def test_a_worker_does_several_jobs_and_reports_its_progress(workers: Pool) -> None:
    events = drive(workers, *(job("lfnn", key=n, seed=n + 1) for n in range(4)))
    assert len({process_of(end(events, n)) for n in range(4)}) == 2
    for n in range(4):
        first, *_ = only(events, StepProgress, n)
        assert (first.done, first.steps) == (25, 3 * 41)


def test_an_invalid_request_fails_with_its_kind_and_keeps_the_worker(workers: Pool) -> None:
    before = {process_of(end(drive(workers, job(key=n, seed=n + 10)))) for n in range(2)}
    events = drive(workers, job("bq"))
    assert (end(events).status, end(events).kind, end(events).run_dir) == ("failed", "usage", None)
    assert end(events).result["reason"] == "Unknown rule 'bq'."
    assert process_of(end(drive(workers, job(seed=12)))) in before


def test_a_worker_waits_for_a_locked_run_and_then_gives_up(workers: Pool) -> None:
    request = job("bp", **lr(0.005))
    folder = end(drive(workers, job("bp", trial=True, **lr(0.005)))).run_dir
    assert folder is not None
    lock = filelock.FileLock(folder / "lock")
    with lock:
        events = drive(workers, request)
    assert (end(events).status, end(events).kind) == ("failed", "locked")
    (note,) = [note for note in only(events, Note) if "Waiting" in note.text]
    assert "Another process is training this run" in note.text
    lock.acquire()
    events = drive(
        workers, request, observe=lambda event: lock.release() if isinstance(event, Note) else None
    )
    assert (end(events).status, end(events).result["test_reads"] > 0) == ("finished", True)


def test_workers_ignore_an_interrupt_from_the_keyboard(workers: Pool) -> None:
    def interrupt(event: object) -> None:
        if isinstance(event, Started):
            owner = (event.run_dir / "owner.json").read_text()
            os.kill(int(owner.split('"pid": ')[1].split(",")[0]), signal.SIGINT)

    events = drive(workers, job("bp", epochs=6), observe=interrupt)
    assert end(events).status == "finished"


def test_a_pool_that_is_stopped_leaves_checkpoints(workers: Pool, tmp_path: Path) -> None:
    jobs = [job(rule, epochs=12, **lr(0.004)) for rule in ("bp", "lfnn")]

    def stop(event: object) -> None:
        if isinstance(event, StepProgress):
            workers.stop()

    events = drive(workers, *jobs, observe=stop)
    for rule in ("bp", "lfnn"):
        ended = end(events, rule)
        assert (ended.status, ended.result["reason"]) == ("killed", "interrupted")
        assert list(ended.run_dir.glob("checkpoint-?.pt"))
    events = drive(workers, *jobs)
    for rule in ("bp", "lfnn"):
        straight = run(tmp_path, ask(rule, epochs=12, **lr(0.004)))[0]
        assert end(events, rule).status == "finished"
        assert_equal_runs(str(straight.run_dir), str(end(events, rule).run_dir))


@pytest.mark.parametrize(("name", "value"), [("JOBS", 1), ("GROWTH_MIB", -1.0), ("fresh", True)])
def test_a_worker_is_replaced_after_its_jobs_or_growth(
    name: str, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name != "fresh":
        monkeypatch.setattr(pools, name, value)
    with Pool(Home(tmp_path), ["cpu"], threads=1, fresh=name == "fresh") as pool:
        events = drive(pool, job(key=0, seed=0), job(key=1, seed=1))
    assert process_of(end(events, 0)) != process_of(end(events, 1))


def test_ended_is_the_last_event(workers: Pool) -> None:
    events = drive(workers, job("lfnn", watch=True, trial=True, **lr(0.01)))
    (events,) = events.values()
    assert isinstance(events[0], Started)
    assert [type(event) for event in events].index(Ended) == len(events) - 1


def test_a_spawned_process_sees_no_main_module() -> None:
    main = sys.modules["__main__"]
    with starting_processes():
        shown = sys.modules["__main__"]
        assert shown is not main
        assert getattr(shown, "__file__", None) is None
        assert shown.__spec__ is None
    assert sys.modules["__main__"] is main
