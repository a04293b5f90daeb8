"""A killed run continues and ends with the same bits as an uninterrupted one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from lbench.errors import DamagedError
from lbench.execute.attempt import locate
from lbench.home import Home
from lbench.training import checkpoint
from lbench.training.checkpoint import SLOTS
from lbench.training.trainer import Trainer
from lbench.training.trainer_parts import Interval
from lbench.training.weights import read_weights
from tests import forked
from tests.forked import Command
from tests.training.helper import ask, command, epoch_log, lbench_run, run, start, words

EPOCHS = 15
RUN = (
    *("--dataset", "digits", "--epochs", str(EPOCHS), "--no-store"),
    *("--checkpoint-every", "0"),
)
"""Every 25 steps and every epoch (of 41 steps) has a checkpoint, so most are inside an epoch."""


def weights(run_dir: str | Path, name: str = "weights.safetensors") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_weights(Path(run_dir) / name)
    return state


def assert_equal_runs(one: str, other: str) -> None:
    for name in ("weights.safetensors", "weights-best-val.safetensors"):
        first, second = weights(one, name), weights(other, name)
        assert first.keys() == second.keys()
        for key in first:
            assert torch.equal(first[key], second[key]), key
    assert epoch_log(one) == epoch_log(other)


def start_and_wait(home: Path, *arguments: str, checkpoints: int) -> Command:
    process = start(*arguments, home=home)
    times: set[int] = set()
    deadline = time.monotonic() + 60
    while len(times) < checkpoints:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        for slot in SLOTS:
            for path in home.glob(f"runs/*/*/{slot}"):
                times.add(path.stat().st_mtime_ns)
        time.sleep(0.002)
    return process


@pytest.mark.parametrize(
    "rule", ["bp", pytest.param("lfnn_l", marks=[pytest.mark.slow, pytest.mark.thorough])]
)
def test_killed_three_times_ends_bit_identical(rule: str, tmp_path: Path) -> None:
    arguments = ("--rule", rule, *RUN)
    straight = lbench_run(*arguments, home=tmp_path / "straight")
    for checkpoints in (3, 8, 5):
        process = start_and_wait(tmp_path / "killed", *arguments, checkpoints=checkpoints)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    resumed = lbench_run(*arguments, home=tmp_path / "killed")
    assert_equal_runs(straight["runs"][0]["run_dir"], resumed["runs"][0]["run_dir"])
    for name in ("train_error", "val_error", "test_error", "test_error_at_best_val", "steps"):
        assert straight["runs"][0][name] == resumed["runs"][0][name]
    assert resumed["runs"][0]["attempt"] == 1


def test_an_interrupt_writes_a_checkpoint_prints_how_to_continue_and_exits_with_130(
    tmp_path: Path,
) -> None:
    arguments = ("--rule", "lfnn", *RUN[:-1], "3600")
    process = start(*arguments, home=tmp_path)
    while not list(tmp_path.glob("runs/*/*/metrics.jsonl")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    steps = 41 * EPOCHS
    assert re.search(rf"Stopped at step \d+ of {steps}\. The same command continues", stderr)
    assert len(list(tmp_path.glob("runs/*/*/checkpoint-?.pt"))) == 1
    resumed = lbench_run(*arguments, home=tmp_path)
    straight = lbench_run(*arguments, home=tmp_path / "straight")
    assert_equal_runs(straight["runs"][0]["run_dir"], resumed["runs"][0]["run_dir"])


MORTAL = """
import os, signal
from lbench_bp.bp import Bp

class Mortal(Bp):
    def after_step(self, s):
        if s.index in map(int, os.environ.get("KILLED_AT", "").split()):
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_between_two_checkpoints_within_an_epoch_changes_no_bit(tmp_path: Path) -> None:
    """Epochs have 41 steps, so the checkpoints before the kills are those of steps 25 and 148."""
    plugin = tmp_path / "mortal.py"
    plugin.write_text(MORTAL)
    arguments = ("--rule", "mortal", "--plugin", str(plugin), *RUN, "--epochs", "5")
    straight = lbench_run(*arguments, home=tmp_path / "straight")
    killed, environment = words(*arguments, home=tmp_path / "killed"), {**os.environ}
    for step in (33, 158):
        done = forked.run(*killed, env={**environment, "KILLED_AT": str(step)})
        assert done.returncode == -signal.SIGKILL
    done = forked.run(*killed, "--json")
    assert "Continues from its checkpoint at step 25 of epoch 4." in done.stderr
    resumed = json.loads(done.stdout)
    assert_equal_runs(straight["runs"][0]["run_dir"], resumed["runs"][0]["run_dir"])


def test_max_hours_stops_at_a_checkpoint_with_exit_code_7_and_the_next_call_continues(
    tmp_path: Path,
) -> None:
    arguments = ("--rule", "bp", *RUN[:-2], "--seeds", "2")
    done = forked.run(*words(*arguments, home=tmp_path), "--max-hours", "0.00001")
    assert done.returncode == 7, done.stderr
    assert re.search(
        r"Stopped at step \d+ of 615 because the time of --max-hours is over\. "
        "The same command continues from there",
        done.stderr,
    )
    assert len(list(tmp_path.glob("runs/*/*/checkpoint-?.pt"))) == 1, "seed 1 has not begun"
    resumed = lbench_run(*arguments, "--max-hours", "1", home=tmp_path)
    straight = lbench_run(*arguments, home=tmp_path / "straight")
    for one, other in zip(straight["runs"], resumed["runs"], strict=True):
        assert_equal_runs(one["run_dir"], other["run_dir"])


def test_checkpoints_take_a_hundredth_of_the_time_unless_an_interval_is_given() -> None:
    usual, given = Interval(None), Interval(10.0)
    assert (usual.seconds, given.seconds) == (30.0, 10.0)
    for interval in (usual, given):
        interval.begin(cost=2.5)
    assert (usual.seconds, given.seconds) == (250.0, 10.0)


def test_a_second_process_reports_which_process_trains_the_run(tmp_path: Path) -> None:
    arguments = ("--rule", "bp", "--dataset", "digits", "--epochs", "100000", "--no-store")
    process = start_and_wait(tmp_path, *arguments, "--checkpoint-every", "0", checkpoints=1)
    try:
        second = lbench_run(*arguments, home=tmp_path, code=1)
        assert second["error"]["kind"] == "locked"
        assert f"process {process.pid}" in second["error"]["message"]
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_a_damaged_checkpoint_is_reported_and_the_previous_one_used(tmp_path: Path) -> None:
    arguments = ("--rule", "bp", *RUN)
    straight = lbench_run(*arguments, home=tmp_path / "straight")
    process = start_and_wait(tmp_path / "damaged", *arguments, checkpoints=6)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (run_dir,) = (tmp_path / "damaged" / "runs").glob("*/*")
    newest = max((run_dir / slot for slot in SLOTS), key=lambda path: path.stat().st_mtime_ns)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    done = forked.run(*words(*arguments, home=tmp_path / "damaged"), check=True)
    assert f"{newest} is damaged" in done.stderr
    assert_equal_runs(straight["runs"][0]["run_dir"], str(run_dir))


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = run(tmp_path, ask())[0]
    before = (first.run_dir / "weights.safetensors").stat().st_mtime_ns
    second = run(tmp_path, ask())[0]
    assert (first.cached, second.cached) == (False, True)
    assert second.result == first.result
    assert (first.run_dir / "weights.safetensors").stat().st_mtime_ns == before


def test_force_trains_a_new_attempt_with_the_same_result(tmp_path: Path) -> None:
    first = run(tmp_path, ask())[0]
    second = run(tmp_path, ask(), force=True)[0]
    assert (second.attempt, second.cached) == (2, False)
    assert_equal_runs(str(first.run_dir), str(second.run_dir))


def test_a_failed_run_starts_again_as_a_new_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lbench_bp.bp import Bp

    resolved = ask()

    def explode(*_: object) -> None:
        raise RuntimeError("no such kernel")

    with monkeypatch.context() as patch:
        patch.setattr(Bp, "loss", explode)
        failed = run(tmp_path, resolved)[0]
    assert failed.result["status"] == "failed"
    assert failed.result["reason"].startswith("RuntimeError: no such kernel (lbench_bp/bp.py:")
    assert "explode" in (failed.run_dir / "error.txt").read_text()
    again = run(tmp_path, resolved)[0]
    assert (again.attempt, again.result["status"]) == (2, "finished")
    assert failed.run_dir.exists()


def test_force_continues_the_attempt_that_it_began(tmp_path: Path) -> None:
    run(tmp_path, ask())
    run_dir, attempt = locate(Home(tmp_path), ask().cell, 0, force=True)
    assert attempt == 2
    run_dir.path.mkdir()
    assert locate(Home(tmp_path), ask().cell, 0, force=True)[0].path == run_dir.path


def test_a_closed_pipe_for_progress_does_not_end_the_run(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*command("--rule", "bp", *RUN, home=tmp_path), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    process.stderr.close()
    assert process.stdout is not None
    assert json.loads(process.stdout.read())["runs"][0]["status"] == "finished"
    assert process.wait() == 0


def test_a_run_that_a_full_disk_stopped_can_be_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = ask(epochs=3)
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(checkpoint, "save", refuse)
        with pytest.raises(OSError, match="No space left"):
            run(tmp_path, resolved)
    assert not list(tmp_path.glob("runs/*/*/result.json"))
    again = run(tmp_path, resolved)[0]
    assert (again.attempt, again.result["status"]) == (1, "finished")


def test_an_interrupt_in_the_last_step_also_stops_the_later_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Trainer._end_epoch

    def interrupted(self: Trainer) -> None:
        plain(self)
        if self.index == self.plan.steps:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Trainer, "_end_epoch", interrupted)
    (outcome,) = run(tmp_path, ask(), seeds=3)
    assert (outcome.stopped, outcome.result["status"]) == ("interrupted", "finished")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"status": "fine"}'])
def test_a_damaged_result_is_reported(content: str, tmp_path: Path) -> None:
    outcome = run(tmp_path, ask())[0]
    path = outcome.run_dir / "result.json"
    path.write_text(content)
    with pytest.raises(DamagedError, match=r"result\.json is damaged"):
        run(tmp_path, ask())


def test_a_run_whose_epoch_log_lost_lines_starts_again(tmp_path: Path) -> None:
    arguments = ("--rule", "bp", *RUN)
    process = start_and_wait(tmp_path, *arguments, checkpoints=6)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (run_dir,) = (tmp_path / "runs").glob("*/*")
    with (run_dir / "metrics.jsonl").open("r+") as file:
        file.truncate(40)
    done = forked.run(*words(*arguments, home=tmp_path), check=True)
    assert "starting again" in done.stderr
    assert [row["epoch"] for row in epoch_log(run_dir)] == list(range(1, EPOCHS + 1))


def test_a_resumed_run_records_both_environments(tmp_path: Path) -> None:
    arguments = ("--rule", "bp", *RUN)
    process = start_and_wait(tmp_path, *arguments, checkpoints=3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (path,) = (tmp_path / "runs").glob("*/*/spec.json")
    begun = json.loads(path.read_text())
    begun["environment"]["threads"] = 7
    path.write_text(json.dumps(begun))
    done = forked.run(*words(*arguments, home=tmp_path), check=True)
    assert "threads 7 -> 1" in done.stderr
    spec = json.loads(path.read_text())
    assert spec["environment"]["threads"] == 1
    assert [environment["threads"] for environment in spec["earlier_environments"]] == [7]
