"""Trials of a search: pruned, continued, finished without a test, and completed."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lbench.data.split import holdout
from lbench.errors import DamagedError
from lbench.execute.attempt import AttemptResult, carry_out, locate
from lbench.execute.writer import Writer
from lbench.home import Home
from lbench.rundir import RunDir
from lbench.store.mlflow_content import mlflow_status
from lbench.training.device_data import training_parts
from lbench.training.job import Machine
from lbench.training.resolve import VALIDATION, Resolved
from tests.training import helper
from tests.training.helper import Silent, ask
from tests.training.test_resume import assert_equal_runs

CPU = torch.device("cpu")
run = functools.partial(helper.run, audit=True)
TIMES = {"seconds", "step_ms", "core_share", "peak_memory_mib", "ended"}


class Pruner(Silent):
    """A reporter that prunes a run after a number of epochs."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs

    def stop_reason(self) -> str | None:
        if len(self.rows) < self.epochs:
            return None
        return f"pruned at epoch {len(self.rows)}: too high"


def trial(
    home: Path, resolved: Resolved, reporter: Silent | None = None
) -> tuple[AttemptResult, RunDir]:
    """Run a trial with seed 0, as a worker does."""
    run_dir, attempt = locate(Home(home), resolved.cell, 0)
    run_reporter = reporter or Silent()
    done = carry_out(
        resolved,
        0,
        attempt,
        run_dir,
        Home(home),
        Machine(CPU, threads=1, checkpoint_every=1e9),
        lambda: run_reporter,
        lambda: None,
        trial=True,
    )
    return done, run_dir


def timeless(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in TIMES}


@pytest.mark.parametrize("rule", ["bp", "lfnn_l"])
def test_a_pruned_run_continues_and_equals_an_uninterrupted_one(rule: str, tmp_path: Path) -> None:
    resolved = ask(rule, epochs=5)
    straight = run(tmp_path / "straight", resolved)[0]
    cut, run_dir = trial(tmp_path / "cut", resolved, Pruner(2))
    assert (cut.result["status"], cut.stopped, cut.cached) == ("pruned", None, False)
    assert cut.result["reason"] == "pruned at epoch 2: too high"
    assert (cut.result["epochs"], cut.result["test_reads"]) == (2, 0)
    assert run_dir.result() == cut.result
    assert list(run_dir.path.glob("checkpoint-?.pt"))
    again = run(tmp_path / "cut", resolved)[0]
    assert (again.attempt, again.run_dir) == (1, run_dir.path)
    assert_equal_runs(str(straight.run_dir), str(again.run_dir))
    assert timeless(again.result) == timeless(straight.result)
    assert not list(run_dir.path.glob("checkpoint-?.pt"))


def test_a_continued_run_has_no_result_in_the_meantime(tmp_path: Path) -> None:
    resolved = ask(epochs=4)
    _, run_dir = trial(tmp_path, resolved, Pruner(2))

    class Checking(Silent):
        def epoch(self, row: dict[str, Any]) -> None:
            assert run_dir.result() is None
            super().epoch(row)

    reporter = Checking()
    run(tmp_path, resolved, reporter=reporter)
    assert [row["epoch"] for row in reporter.rows] == [3, 4]


def test_a_run_that_is_pruned_after_its_last_epoch_has_finished(tmp_path: Path) -> None:
    done, _ = trial(tmp_path, ask(epochs=2), Pruner(2))
    assert (done.result["status"], done.stopped) == ("finished", None)


def test_a_pruned_run_is_recorded_with_its_status_and_reason(tmp_path: Path) -> None:
    _, run_dir = trial(tmp_path, ask(epochs=4), Pruner(1))
    with Writer(Home(tmp_path), pytest.fail) as writer:
        row = writer.take(run_dir)
        assert row is not None
        assert (row.status, row.reason) == ("pruned", "pruned at epoch 1: too high")
        assert mlflow_status(row.status) == "KILLED"
        run(tmp_path, ask(epochs=4))
        row = writer.take(run_dir)
        assert row is not None
        assert (row.status, row.reason, row.attempt) == ("finished", None, 1)


def test_a_trial_reads_no_test_set_and_saves_validation_logits(tmp_path: Path) -> None:
    resolved = ask("lfnn_l")
    done, run_dir = trial(tmp_path, resolved)
    result = done.result
    assert (result["status"], result["test_error"], result["test_reads"]) == ("finished", None, 0)
    assert not list(run_dir.path.glob("test_*"))
    assert [glance["step"] for glance in result["glances"]][:3] == [0, 40, 41]
    assert result["audit"]["transport"]["measured"] is None
    train, digest = resolved.dataset.train, resolved.dataset.digest
    labels = train.labels[holdout(train.labels, VALIDATION, digest)[1]]
    logits = np.load(run_dir.path / "val_logits.npy")
    assert (logits.dtype, logits.shape) == (np.float16, (len(labels), 10))
    assert 100 * (logits.argmax(1) != labels).mean() == pytest.approx(result["val_error"])


@pytest.mark.parametrize("epochs", [1, 8])
def test_a_completed_trial_equals_an_ordinary_run(epochs: int, tmp_path: Path) -> None:
    """With eight epochs the best-validation weights are not the last ones."""
    resolved = ask("lfnn_l", epochs=epochs, recipe={"lr": 0.03})
    straight = run(tmp_path / "straight", resolved)[0]
    assert (straight.result["test_reads"] == 2) is (epochs == 8)
    _, run_dir = trial(tmp_path / "trial", resolved)
    before = (run_dir.path / "weights.safetensors").stat().st_mtime_ns
    reporter = Silent()
    completed = run(tmp_path / "trial", resolved, reporter=reporter)[0]
    assert (completed.attempt, completed.cached, reporter.rows) == (1, False, [])
    assert (run_dir.path / "weights.safetensors").stat().st_mtime_ns == before
    assert timeless(completed.result) == timeless(straight.result)
    assert_equal_runs(str(straight.run_dir), str(completed.run_dir))
    for name in ("test_logits.npy", "test_logits_best_val.npy"):
        one, other = (np.load(outcome.run_dir / name) for outcome in (straight, completed))
        assert (one == other).all()
    assert run(tmp_path / "trial", resolved)[0].cached


def test_a_finished_trial_is_not_trained_again(tmp_path: Path) -> None:
    resolved = ask()
    trial(tmp_path, resolved)
    assert trial(tmp_path, resolved)[0].cached
    run(tmp_path, resolved)
    done, _ = trial(tmp_path, resolved)
    assert done.cached
    assert done.result["test_reads"] > 0


def test_a_trial_without_its_weights_cannot_be_completed(tmp_path: Path) -> None:
    resolved = ask()
    _, run_dir = trial(tmp_path, resolved)
    (run_dir.path / "weights.safetensors").unlink()
    with pytest.raises(DamagedError, match=r"weights\.safetensors is damaged: it is missing"):
        run(tmp_path, resolved)
    assert json.loads((run_dir.path / "result.json").read_text())["test_error"] is None


def test_data_stays_on_the_device_until_a_run_has_other_data() -> None:
    first = training_parts(ask(), CPU)
    assert training_parts(ask("lfnn_l", recipe={"lr": 0.1}, epochs=7), CPU) is first
    paper = training_parts(ask(protocol="paper"), CPU)
    assert len(paper.training) > len(first.training)
    assert paper.validation is None
    assert training_parts(ask(), CPU) is not first
