"""Runs on streamed images continue after a kill with the next image, and open no file of a rule."""

from __future__ import annotations

import dataclasses
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from lbench.data.stream import Pending, StreamedBatches
from lbench.execute.driver import run_cell
from lbench.home import Home
from lbench.step import Step
from lbench.training.job import Machine
from lbench.training.resolve import Resolved
from tests import forked
from tests.auditing.cheats import Honest
from tests.data.streaming import write_folder
from tests.training.helper import Silent, ask, run

IMAGES = 40
"""Training images of the whole folder; a tenth of each class is held out."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pets"), train=IMAGES // 2)


def request(folder: Path, rule: str = "bp", **changes: object) -> Resolved:
    options = {"size": 8, "stream": "yes"}
    return ask(
        rule,
        "imagefolder",
        data_dir=folder,
        data_options=options,
        network="mlp",
        network_options={"widths": "8"},
        recipe={"batch": 4},
        augmentation="resizedcrop,flip",
        **changes,
    )


def train_and_log() -> None:
    """Train on the folder, and append epoch, position and ids of each batch to a file."""
    take = StreamedBatches.take
    log = Path(os.environ["LOG"])

    def logged(batches: StreamedBatches, epoch: int, position: int) -> Pending:
        pending = take(batches, epoch, position)
        with log.open("a") as file:
            file.write(f"{epoch} {position}: {pending.rows.tolist()}\n")
        return pending

    StreamedBatches.take = logged  # type: ignore[method-assign]
    resolved = request(Path(os.environ["FOLDER"]), epochs=12)
    machine = Machine(torch.device("cpu"), 1, 0.02, audit=False, loader_workers=1)
    home = Home(log.with_suffix(".home"))
    run_cell(resolved, [0], home, machine, lambda seed: Silent(), None)


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.thorough
def test_a_run_killed_five_times_sees_the_images_of_an_uninterrupted_one(
    folder: Path, tmp_path: Path
) -> None:
    def start(name: str) -> forked.Command:
        log = str(tmp_path / f"{name}.log")
        environment = {**os.environ, "FOLDER": str(folder), "LOG": log}
        return forked.Command(env=environment, does=train_and_log)

    with start("whole") as command:
        assert command.wait(120) == 0, command.communicate()
    whole = lines(tmp_path / "whole.log")
    assert len(whole) == len(set(whole)) == 12 * 9

    log, chance, resumed = tmp_path / "killed.log", random.Random(0), 0
    for _ in range(5):
        before = len(lines(log))
        stop = before + chance.randint(2, 20)
        with start("killed") as command:
            wait_for(lambda stop=stop: len(lines(log)) >= stop)  # type: ignore[misc]
            command.kill()
        if before:
            # It continued from a checkpoint: at most some batches are trained again.
            epoch, position = map(int, lines(log)[before].partition(":")[0].split())
            resumed += (epoch, position) != (0, 0)
    assert resumed >= 3
    with start("killed") as command:
        assert command.wait(120) == 0, command.communicate()
    assert set(lines(log)) == set(whole)
    assert lines(log)[-1] == whole[-1]
    last = {line.partition(":")[0]: line for line in lines(log)}
    assert list(last.values()) == whole


class Peeking(Honest):
    """A rule that opens an image of the dataset in a step."""

    path: ClassVar[Path]

    def after_step(self, s: Step) -> None:
        if s.index == 3:
            self.path.read_bytes()


def test_a_rule_that_opens_a_streamed_image_is_reported(folder: Path, tmp_path: Path) -> None:
    reporter = Silent()
    Peeking.path = folder / "test" / "cat" / "01.jpg"
    resolved = request(folder, epochs=1)
    cell = dataclasses.replace(resolved.cell, rule_class=Peeking, config=Peeking.Config())
    resolved = dataclasses.replace(resolved, cell=cell)
    outcome = run(tmp_path, resolved, reporter=reporter)[0]
    assert outcome.result["files_opened"] == ["01.jpg"]
    assert any("which is a file of the dataset" in note for note in reporter.notes)


def test_a_streamed_run_is_audited_without_a_report_of_opened_files(
    folder: Path, tmp_path: Path
) -> None:
    reporter = Silent()
    outcome = run(tmp_path, request(folder, epochs=1), audit=True, reporter=reporter)[0]
    assert outcome.result["status"] == "finished"
    assert outcome.result["files_opened"] == []
    assert not [note for note in reporter.notes if "opened" in note]
    assert len(outcome.result["glances"]) >= 4
    assert outcome.result["contradictions"] == []
