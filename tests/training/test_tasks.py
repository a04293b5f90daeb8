"""Runs of a sequence of tasks: errors are means over tasks, and the probe has each task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lbench.errors import UsageError
from lbench.training.trainer import Trainer
from lbench.training.weights import read_weights
from lbench_probes.continual import continual, error_matrix
from tests.training.helper import ask, epoch_log, run
from tests.training.test_resume import assert_equal_runs

parquet = pytest.importorskip("pyarrow.parquet")


def rows(run_dir: Path) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = parquet.read_table(
        run_dir / "probes" / "tasks.parquet"
    ).to_pydict()
    return columns


def matrix(run_dir: Path) -> np.ndarray[Any, Any]:
    table = rows(run_dir)
    return error_matrix(table["trained"], table["task"], table["error"])


@pytest.mark.parametrize("dataset", ["split-digits", "permuted-digits"])
def test_errors_are_means_over_tasks(dataset: str, tmp_path: Path) -> None:
    resolved = ask("bp", dataset)
    outcome = run(tmp_path, resolved, probes=["tasks"])[0]
    result, errors_by_task = outcome.result, matrix(outcome.run_dir)
    assert errors_by_task.shape == (5, 5)
    # There are two epochs per task; validation errors in the epoch log are over all tasks.
    errors = [row["val_error"] for row in epoch_log(outcome.run_dir)]
    assert len(errors) == result["epochs"] == 10
    assert errors[1::2] == pytest.approx(errors_by_task.mean(axis=1).tolist())
    assert result["val_error"] == pytest.approx(errors_by_task[-1].mean())
    # The test error from the saved logits, task by task.
    logits = np.load(outcome.run_dir / "test_logits.npy")
    data, start, by_task = resolved.dataset, 0, []
    for segment in data.segments:
        labels = data.test.labels[segment.test]
        predicted = logits[start : start + len(labels)].argmax(1)
        by_task.append(100 * (predicted != labels).mean())
        start += len(labels)
    assert start == len(logits)
    assert result["test_error"] == pytest.approx(np.mean(by_task), abs=0.3)
    assert len(set(by_task)) > 1


def test_the_matrix_under_strict_has_validation_errors_and_reads_no_test_set(
    tmp_path: Path,
) -> None:
    resolved = ask("bp", "split-digits", epochs=10)
    plain = run(tmp_path / "plain", resolved)[0]
    outcome = run(tmp_path / "seen", resolved, probes=["tasks"])[0]
    assert outcome.result["test_reads"] == plain.result["test_reads"]
    assert rows(outcome.run_dir)["examples"][:5] == [29, 29, 29, 28, 28]
    assert_equal_runs(str(plain.run_dir), str(outcome.run_dir))


def test_the_matrix_under_paper_has_test_errors_and_every_read_is_counted(
    tmp_path: Path,
) -> None:
    resolved = ask("bp", "split-digits", protocol="paper", data_options={"tasks": 3})
    outcome = run(tmp_path, resolved, probes=["tasks"])[0]
    assert rows(outcome.run_dir)["examples"] == [72, 72, 72] * 3
    assert outcome.result["test_error"] == pytest.approx(matrix(outcome.run_dir)[-1].mean())
    # One read after each of three tasks, and the one at the end of every run.
    assert outcome.result["test_reads"] == 4


def test_tasks_are_learned_and_forgotten(tmp_path: Path) -> None:
    outcome = run(tmp_path, ask("bp", "split-digits", epochs=10), probes=["tasks"])[0]
    measures = continual(matrix(outcome.run_dir))
    assert measures.learning_error < 10
    assert measures.forgetting is not None
    assert measures.forgetting > 10


@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_a_run_that_was_killed_within_a_task_continues_with_its_matrix_and_its_reads(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = ask("bp", "split-digits", protocol=protocol)
    straight = run(tmp_path / "straight", resolved, probes=["tasks"])[0]
    plain = Trainer._step

    def killed(self: Trainer, epoch: int, position: int, *, last: bool) -> None:
        if (epoch, position) == (5, 3):
            self.save()
            raise KeyboardInterrupt
        plain(self, epoch, position, last=last)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", resolved, probes=["tasks"])
    resumed = run(tmp_path / "killed", resolved, probes=["tasks"])[0]
    assert resumed.attempt == 1
    assert rows(resumed.run_dir) == rows(straight.run_dir)
    assert resumed.result["test_reads"] == straight.result["test_reads"]
    assert epoch_log(resumed.run_dir) == epoch_log(straight.run_dir)
    states = [
        read_weights(outcome.run_dir / "weights.safetensors") for outcome in (straight, resumed)
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_probe_needs_a_sequence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sequence of tasks, which this dataset is not") as caught:
        run(tmp_path, ask("bp", "digits"), probes=["tasks"])
    assert "--dataset split-digits" in caught.value.hint


def test_the_spec_counts_the_examples_of_all_tasks(tmp_path: Path) -> None:
    outcome = run(tmp_path, ask("bp", "split-digits", epochs=1))[0]
    spec = json.loads((outcome.run_dir / "spec.json").read_text())
    assert (spec["data"]["train"], spec["data"]["validation"]) == (1295, 143)
