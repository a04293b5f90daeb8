"""A rule that trains cannot reach the test set, and is caught when its code opens the files."""

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
from lbench.data.digits import FILE, Digits
from lbench.execute.driver import Outcome
from lbench.probe import Probe
from lbench.report.result import describe
from lbench.run import ending, probing
from lbench.run.digest import code_digest
from lbench.run.resolve import Resolved
from tests.auditing.cheats import Honest
from tests.auditing.late_cheats import ReadsTestSet
from tests.run.helper import Silent, ask, run

CLAIM = "prediction: the rule's code opened digits.npz, a file of the dataset"


def with_rule(cls: type[Rule], **changes: Any) -> Resolved:
    resolved = ask(**{"examples": 640, **changes})
    cell = dataclasses.replace(
        resolved.cell, rule="own", rule_class=cls, code=code_digest(cls), config=cls.Config()
    )
    return dataclasses.replace(resolved, cell=cell)


def trained(home: Path, cls: type[Rule], **changes: Any) -> tuple[Outcome, list[str]]:
    reporter = Silent()
    resolved = with_rule(cls, **changes)
    (outcome,) = run(home, resolved, reporter=reporter)
    assert outcome.result["status"] == "finished", outcome.result["reason"]
    assert describe(resolved, [outcome])["contradictions"] == outcome.result["contradictions"]
    return outcome, reporter.notes


def accused(outcome: Outcome) -> bool:
    return CLAIM in outcome.result["contradictions"]


@pytest.fixture(autouse=True)
def without_the_full_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "audited", lambda *_: None)


class Opens(Honest):
    """Opens a file in a step."""

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
    assert accused(outcome)
    assert outcome.result["files_opened"] == ["digits.npz"]
    entry = outcome.result["audit"]["prediction"]
    assert entry == {"claimed": "clean", "measured": "leaks"}
    assert sum("digits.npz, which is a file of the dataset" in note for note in notes) == 1


def test_decoded_data_in_the_cache_is_the_datasets(
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


def test_files_of_its_own_are_noted_and_no_contradiction(tmp_path: Path) -> None:
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


def test_what_lbench_reads_itself_is_no_reading_of_the_rule(tmp_path: Path) -> None:
    outcome, notes = trained(tmp_path, Honest)
    assert outcome.result["files_opened"] == []
    assert not any("opened" in note for note in notes)
    FILE.read_bytes()  # behind the run nobody watches
    assert outcome.result["files_opened"] == []


class Looks(Honest):
    """Follows all references from what it has, and from lbench's modules, for the test set."""

    found: list[str]

    def step(self, batch: Batch, s: Step) -> None:
        if s.index == 3:
            modules = [m for name, m in [*sys.modules.items()] if name.startswith("lbench.")]
            roots = [self, batch, s, *(vars(module) for module in modules)]
            type(self).found = [type(each).__name__ for each in holders(roots)]
        super().step(batch, s)


def _count(each: np.ndarray | Tensor) -> int:
    return each.numel() if isinstance(each, Tensor) else each.size


def holders(roots: list[Any]) -> Iterator[Any]:
    """Arrays and tensors with the digits of the test set."""
    wanted = Digits().load().test.images
    globals_of = {id(vars(module)) for module in [*sys.modules.values()]} - {id(r) for r in roots}
    seen, left = {id(wanted)}, list(roots)
    while left:
        each = left.pop()
        skipped = isinstance(each, (type, ModuleType, FrameType)) or id(each) in globals_of
        if id(each) in seen or skipped:
            continue
        seen.add(id(each))
        if isinstance(each, np.ndarray | Tensor):
            if each.dtype in (np.uint8, torch.uint8) and _count(each) == wanted.size:
                values = np.asarray(each).reshape(wanted.shape)
                if np.array_equal(values, wanted):
                    yield each
            continue
        left += gc.get_referents(each)


@pytest.mark.parametrize("changes", [{}, {"protocol": "paper"}])
def test_the_test_set_is_not_reached_from_a_rule_that_trains(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    trained(tmp_path / "one", Looks, **changes)
    Looks.found = ["not looked"]
    trained(tmp_path / "two", Looks, **changes)  # an earlier run of the process has read it
    assert Looks.found == []


def test_the_search_finds_the_test_set_where_it_is() -> None:
    held = Digits().load().test

    def closure() -> object:
        return held

    assert [type(each) for each in holders([closure])] == [np.ndarray]


class Updates(Probe):
    """Is reached from the updates of a rule."""

    def at_update(self, group: str, grads: Mapping[str, Tensor]) -> None:
        assert self.scene.judged


def test_probes_that_see_every_update_bring_no_test_set_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "registry", lambda: SimpleNamespace(load=lambda *_: Updates))
    Looks.found = ["not looked"]
    run(tmp_path, with_rule(Looks), probes=["updates"])
    assert Looks.found == []
