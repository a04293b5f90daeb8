"""A rule in training cannot reach the test set, and the audit reports files that it opens."""

from __future__ import annotations

import dataclasses
import gc
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lbench import Batch, Init, Rule, Step
from lbench.api.run_content import describe
from lbench.data.digits import FILE, Digits
from lbench.execute.driver import RunOutcome
from lbench.probe import Probe
from lbench.training import results, run_probes
from lbench.training.digest import code_digest
from lbench.training.resolve import Resolved
from tests.auditing.cheats import Honest
from tests.auditing.late_cheats import ReadsTestSet
from tests.training.helper import Silent, ask, run

CLAIM = "prediction: the rule's code opened digits.npz, a file of the dataset"


def with_rule(cls: type[Rule], **changes: Any) -> Resolved:
    resolved = ask(**{"examples": 640, **changes})
    cell = dataclasses.replace(
        resolved.cell, rule="own", rule_class=cls, code=code_digest(cls), config=cls.Config()
    )
    return dataclasses.replace(resolved, cell=cell)


def trained(home: Path, cls: type[Rule], **changes: Any) -> tuple[RunOutcome, list[str]]:
    reporter = Silent()
    resolved = with_rule(cls, **changes)
    (outcome,) = run(home, resolved, reporter=reporter)
    assert outcome.result["status"] == "finished", outcome.result["reason"]
    assert describe(resolved, [outcome])["contradictions"] == outcome.result["contradictions"]
    return outcome, reporter.notes


def contradicted(outcome: RunOutcome) -> bool:
    return CLAIM in outcome.result["contradictions"]


@pytest.fixture(autouse=True)
def without_the_full_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "full_audit", lambda *_: None)


class Opens(Honest):
    """A rule that opens a file in a step."""

    def open(self) -> None:
        raise NotImplementedError

    def after_step(self, s: Step) -> None:
        if s.index == 13:
            self.open()


class ByNumpy(Opens):
    def open(self) -> None:
        np.load(FILE)["labels"]


class ByItsDescriptor(Opens):
    def open(self) -> None:
        os.close(os.open(FILE, os.O_RDONLY))


class ByLbenchsLoader(Opens):
    def open(self) -> None:
        assert len(Digits().load().test)


class InAThread(Opens):
    def open(self) -> None:
        thread = threading.Thread(target=self.read)
        thread.start()
        thread.join()

    def read(self) -> None:
        FILE.read_bytes()


class ByAnotherName(Opens):
    def open(self) -> None:
        (FILE.parent / ".." / "data" / FILE.name).open("rb").close()


class InBuild(Honest):
    def build(self, init: Init) -> None:
        super().build(init)
        FILE.read_bytes()


class InPredict(Honest):
    def predict(self, x: Tensor) -> Tensor:
        FILE.read_bytes()
        return super().predict(x)


class InPrepare(Honest):
    def prepare(self, batch: Batch, s: Step) -> Batch:
        FILE.read_bytes()
        return batch


@pytest.mark.parametrize(
    "cls",
    [
        ReadsTestSet,
        ByNumpy,
        ByItsDescriptor,
        ByLbenchsLoader,
        InAThread,
        ByAnotherName,
        InBuild,
        InPredict,
        InPrepare,
    ],
)
def test_a_rule_that_opens_the_datasets_file_is_contradicted(
    cls: type[Rule], tmp_path: Path
) -> None:
    outcome, notes = trained(tmp_path, cls)
    assert contradicted(outcome)
    assert outcome.result["files_opened"] == ["digits.npz"]
    entry = outcome.result["audit"]["prediction"]
    assert entry == {"claimed": "clean", "measured": "leaks"}
    assert sum("digits.npz, which is a file of the dataset" in note for note in notes) == 1


def test_decoded_data_in_the_cache_counts_as_the_datasets_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    file = tmp_path / "cache" / "mnist-0123.bin"
    file.write_bytes(b"")

    class FromTheCache(Opens):
        def open(self) -> None:
            file.read_bytes()

    outcome, _ = trained(tmp_path / "home", FromTheCache)
    assert outcome.result["files_opened"] == ["mnist-0123.bin"]


def test_other_files_are_noted_without_a_contradiction(tmp_path: Path) -> None:
    file = tmp_path / "feedback.npy"
    file.write_bytes(b"1")

    class OwnFile(Opens):
        def open(self) -> None:
            for _ in range(2):
                file.read_bytes()
            (tmp_path / "log").write_text("written, not read")

    outcome, notes = trained(tmp_path / "home", OwnFile)
    assert outcome.result["contradictions"] == []
    assert outcome.result["files_opened"] == []
    assert [note for note in notes if "opened" in note] == [f"The code of the rule opened {file}."]


def test_files_that_lbench_reads_do_not_count_for_the_rule(tmp_path: Path) -> None:
    outcome, notes = trained(tmp_path, Honest)
    assert outcome.result["files_opened"] == []
    assert not any("opened" in note for note in notes)
    FILE.read_bytes()  # after the run, files are not observed
    assert outcome.result["files_opened"] == []


class Searcher(Honest):
    """A rule that searches its own references and lbench's modules for the test set."""

    holders: list[str]

    def step(self, batch: Batch, s: Step) -> None:
        if s.index == 3:
            modules = [m for name, m in [*sys.modules.items()] if name.startswith("lbench.")]
            roots = [self, batch, s, *(vars(module) for module in modules)]
            type(self).holders = [type(holder).__name__ for holder in holders(roots)]
        super().step(batch, s)


def _count(array: np.ndarray | Tensor) -> int:
    return array.numel() if isinstance(array, Tensor) else array.size


def holders(roots: list[Any]) -> Iterator[Any]:
    """Yield the arrays and tensors with the test images that are reached from the roots."""
    images = Digits().load().test.images
    globals_of = {id(vars(module)) for module in [*sys.modules.values()]} - {id(r) for r in roots}
    seen, pending = {id(images)}, list(roots)
    while pending:
        value = pending.pop()
        skipped = isinstance(value, (type, ModuleType, FrameType)) or id(value) in globals_of
        if id(value) in seen or skipped:
            continue
        seen.add(id(value))
        if isinstance(value, np.ndarray | Tensor):
            if value.dtype in (np.uint8, torch.uint8) and _count(value) == images.size:
                values = np.asarray(value).reshape(images.shape)
                if np.array_equal(values, images):
                    yield value
            continue
        pending += gc.get_referents(value)


@pytest.mark.parametrize("changes", [{}, {"protocol": "paper"}])
def test_a_rule_in_training_cannot_reach_the_test_set(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    trained(tmp_path / "one", Searcher, **changes)
    Searcher.holders = ["not searched"]
    trained(tmp_path / "two", Searcher, **changes)  # an earlier run of the process has read it
    assert Searcher.holders == []


def test_the_search_finds_a_test_set_in_a_closure() -> None:
    test = Digits().load().test

    def closure() -> object:
        return test

    assert [type(holder) for holder in holders([closure])] == [np.ndarray]


class Updates(Probe):
    """A probe that the updates of a rule refer to."""

    def at_update(self, group: str, grads: Mapping[str, Tensor]) -> None:
        assert self.scene.judged


def test_probes_at_updates_do_not_lead_to_the_test_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_probes, "registry", lambda: SimpleNamespace(load=lambda *_: Updates))
    Searcher.holders = ["not searched"]
    run(tmp_path, with_rule(Searcher), probes=["updates"])
    assert Searcher.holders == []
