"""The audit of a run: measurements in its steps and on a small network contradict claims."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from lbench import Batch, GradientRule, Init, LocalRule, Rule, Step
from lbench.api.run_content import describe
from lbench.cli.compare import command as compare
from lbench.errors import UsageError
from lbench.execute.driver import RunOutcome, run_cell
from lbench.home import Home
from lbench.report.summary import render_run
from lbench.step import Phase
from lbench.store.sync import sync
from lbench.training import glances
from lbench.training.checkpoint import SLOTS, read_tensors, write_tensors
from lbench.training.digest import code_digest
from lbench.training.full_audit import cache_key
from lbench.training.glances import Glances, glance_steps
from lbench.training.job import Machine
from lbench.training.memory import Peak
from lbench.training.resolve import Resolved
from lbench.training.step_plan import StepPlan
from lbench.training.trainer import Trainer
from lbench.training.weights import read_weights
from tests.auditing.cheats import ForeignWrite, ForgottenDetach, GlobalGenerator, Honest, LateLeak
from tests.training import helper
from tests.training.helper import Silent, ask, epoch_log

CPU = torch.device("cpu")
run = functools.partial(helper.run, audit=True)


def with_rule(cls: type[Rule], name: str = "cheat", **changes: Any) -> Resolved:
    """Return a small configuration whose rule is this class."""
    resolved = ask(**{"examples": 640, **changes})
    cell = dataclasses.replace(
        resolved.cell, rule=name, rule_class=cls, code=code_digest(cls), config=cls.Config()
    )
    return dataclasses.replace(resolved, cell=cell)


def with_notes(
    home: Path, resolved: Resolved, *, seeds: int = 1
) -> tuple[list[RunOutcome], list[str]]:
    """Train, and return the outcomes and the notes of the reporter."""
    reporter = Silent()
    machine = Machine(CPU, threads=1, checkpoint_every=1e9)
    outcomes = run_cell(resolved, range(seeds), Home(home), machine, lambda _: reporter, None)
    return outcomes, reporter.notes


def weights(outcome: RunOutcome) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_weights(outcome.run_dir / "weights.safetensors")
    return state


def equal_runs(one: RunOutcome, other: RunOutcome) -> bool:
    first, second = weights(one), weights(other)
    equal = all(torch.equal(value, second[name]) for name, value in first.items())
    return equal and epoch_log(one.run_dir) == epoch_log(other.run_dir)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("cheat", "claim", "evidence"),
    [
        (ForgottenDetach, "backward_depth", "claimed 1, measured 3"),
        (LateLeak, "update_locked", "of the run)"),
        (
            GlobalGenerator,
            "randomness",
            "global generator of torch (steps 1, ",
        ),
        (ForeignWrite, "writes", "fc2.weight was changed before the update of block0 (steps 1, "),
    ],
)
def test_a_cheat_is_contradicted_in_json_table_and_comparison(
    cheat: type[Rule], claim: str, evidence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resolved = with_rule(cheat)
    outcomes = run(tmp_path, resolved)
    saved = json.loads((outcomes[0].run_dir / "result.json").read_text())
    content = describe(resolved, outcomes)
    for contradictions in (saved["contradictions"], content["contradictions"]):
        assert any(text.startswith(f"{claim}: ") and evidence in text for text in contradictions)
    entry = content["audit"][claim]
    assert entry["claimed"] != entry["measured"]
    render_run(content)
    lines = [line for line in capsys.readouterr().out.splitlines() if "CONTRADICTED" in line]
    assert len(lines) == len(content["contradictions"])
    sync(Home(tmp_path), mlflow=False)
    arguments = ["cheat", "--home", str(tmp_path)]
    (row,) = json.loads(CliRunner().invoke(compare, [*arguments, "--json"]).output)["cells"]
    assert row["contradictions"] == content["contradictions"]
    assert row["audit"] == content["audit"]
    shown = CliRunner().invoke(compare, arguments).output
    assert f"1 CONTRADICTED {claim}: " in shown


def test_an_honest_rule_has_no_contradiction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resolved = with_rule(Honest, "honest")
    content = describe(resolved, run(tmp_path, resolved))
    assert content["contradictions"] == []
    for entry in content["audit"].values():
        assert entry["claimed"] == entry["measured"]
    steps = sorted(glance_steps(StepPlan.of(1295, 32, None, 640, [Phase()]), 0))
    assert [glance["step"] for glance in content["runs"][0]["glances"]] == steps
    render_run(content)
    assert "not BP-free, backward depth 1, not update-locked" in capsys.readouterr().out
    sync(Home(tmp_path), mlflow=False)
    shown = CliRunner().invoke(compare, ["honest", "--home", str(tmp_path)]).output
    assert " depth 1 " in shown
    assert "CONTRADICTED" not in shown


class InPlace(Honest):
    """A rule that changes its batch in place."""

    def prepare(self, batch: Batch, s: Step) -> Batch:
        batch.x.add_(s.noise("input", batch.x.shape), alpha=0.1)
        return batch


RUNS: dict[str, Callable[[], Resolved]] = {
    "workers": lambda: ask("lfnn", examples=640, recipe={"dropout": 0.3}),
    "running statistics": lambda: ask(
        "lfnn_l", examples=640, network="cnn", network_options={"widths": "20,20"}
    ),
    "bfloat16": lambda: ask("bp", examples=640, precision="bf16"),
    "the global generator": lambda: with_rule(GlobalGenerator),
    "a batch prepared in place": lambda: with_rule(InPlace),
}


@pytest.mark.parametrize("name", RUNS)
def test_glances_change_no_bit_of_a_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(4)
    resolved = RUNS[name]()
    audited = run(tmp_path / "audited", resolved)[0]
    assert len(audited.result["glances"]) >= 3
    if issubclass(resolved.cell.rule_class, LocalRule):
        assert all(glance["moved"] == [] for glance in audited.result["glances"])
    monkeypatch.setattr(Glances, "due", lambda self, index: False)
    torch.manual_seed(4)
    plain = run(tmp_path / "plain", resolved)[0]
    assert plain.result["glances"] == []
    assert equal_runs(audited, plain)


@pytest.mark.parametrize("older", [False, True])
def test_a_resumed_run_keeps_its_glances_and_does_not_repeat_them(
    older: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = with_rule(ForeignWrite, examples=2 * 1295)
    straight = run(tmp_path / "straight", resolved)[0]
    steps = [glance["step"] for glance in straight.result["glances"]]
    assert steps[:2] == [0, 40], "the first step and the last one of the first epoch"
    assert 41 in steps
    assert 81 in steps
    plain = Trainer._end_epoch

    def interrupted(self: Trainer) -> None:
        plain(self)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_end_epoch", interrupted)
        stopped = run(tmp_path / "resumed", resolved)[0]
    assert (stopped.result["status"], stopped.result["steps"]) == ("killed", 41)
    if older:
        path = stopped.run_dir / SLOTS[0]
        content = read_tensors(path)
        del content["state"]["glances"]
        write_tensors(path, content)
    audited: list[int] = []
    add = Glances.add

    def counted(self: Glances, *arguments: Any) -> None:
        audited.append(arguments[2].index)
        add(self, *arguments)

    monkeypatch.setattr(Glances, "add", counted)
    resumed = run(tmp_path / "resumed", resolved)[0]
    assert audited == [step for step in steps if step > 40]
    assert equal_runs(straight, resumed)
    if older:
        assert resumed.result["glances"] == straight.result["glances"][2:]
    else:
        assert resumed.result["glances"] == straight.result["glances"]
        assert resumed.result["contradictions"] == straight.result["contradictions"]


def test_a_rule_that_cannot_be_copied_is_noted_and_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("it cannot be copied")

    plain = run(tmp_path / "plain", ask())[0]
    monkeypatch.setattr(glances, "glance", refuse)
    (outcome,), notes = with_notes(tmp_path / "refused", ask())
    assert outcome.result["status"] == "finished"
    assert outcome.result["glances"] == []
    assert "Step 1 was not audited: RuntimeError: it cannot be copied" in notes
    assert equal_runs(plain, outcome)


def test_glances_count_neither_as_training_nor_as_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, late = time.perf_counter, [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: real() + late[0])
    add = Glances.add

    def slow(self: Glances, *arguments: Any) -> None:
        add(self, *arguments)
        late[0] += 1000.0

    monkeypatch.setattr(Glances, "add", slow)
    result = run(tmp_path, ask())[0].result
    seconds = result["seconds"]
    assert seconds["training"] + seconds["evaluation"] < 1000
    assert seconds["other"] > 3000
    assert result["step_ms"] < 1000


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak cannot be reset")
def test_the_memory_of_a_glance_does_not_count() -> None:
    peak = Peak(CPU)
    before = peak.mib()
    assert before is not None
    with peak.uncounted():
        large = torch.ones(100 * 2**18)
        assert (Peak.mib(peak) or 0) > before + 90
        del large
    assert (peak.mib() or 0) < before + 50
    counted = torch.ones(100 * 2**18)
    assert (peak.mib() or 0) > before + 90
    with peak.uncounted():
        del counted
    assert (peak.mib() or 0) > before + 90


def test_seeds_share_one_audit(own_cache: Path, tmp_path: Path) -> None:
    outcomes, notes = with_notes(tmp_path / "home", with_rule(Honest), seeds=2)
    assert notes == ["Auditing cheat on a small network."]
    assert [outcome.result["audit"]["backward_depth"]["measured"] for outcome in outcomes] == [1, 1]
    (file,) = (own_cache / "audits").iterdir()
    wide = with_rule(Honest, network="mlp", network_options={"widths": "30,30,30"})
    assert with_notes(tmp_path / "home", wide)[1] == [], (
        "width and depth are not those of the audit"
    )
    file.write_text("{")
    assert with_notes(tmp_path / "again", wide)[1] == notes, "a damaged file is no audit"


def test_other_rules_and_options_have_audits_of_their_own() -> None:
    plain = with_rule(Honest).cell
    others = [
        with_rule(ForgottenDetach).cell,
        with_rule(Honest, recipe={"dropout": 0.1}).cell,
        with_rule(Honest, network="cnn").cell,
        with_rule(Honest, network="cnn", network_options={"norm": "group"}).cell,
        dataclasses.replace(plain, code="edited"),
        ask("lfnn_l").cell,
        ask("lfnn_l", config={"leadership": 0.5}).cell,
    ]
    keys = [cache_key(cell, None) for cell in [plain, *others]] + [cache_key(plain, 1)]
    assert len(set(keys)) == len(keys)
    assert cache_key(with_rule(Honest, recipe={"lr": 0.5}).cell, None) == keys[0]


def test_blocks_that_the_user_regrouped_are_audited_regrouped(tmp_path: Path) -> None:
    audit = run(tmp_path, with_rule(Honest, blocks=1))[0].result["audit"]
    assert audit["backward_depth"] == {"claimed": 2, "measured": 3}


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = with_rule(Honest)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LBENCH_CACHE", str(tmp_path / "file"))
    (outcome,), _ = with_notes(tmp_path / "home", resolved)
    assert outcome.result["audit"]["bp_free"] == {"claimed": False, "measured": False}


class Picky(GradientRule):
    """A rule for wide networks only."""

    def build(self, init: Init) -> None:
        if self.network.blocks[0].width < 100:
            raise UsageError("Block 0 has 24 units, picky takes 100.", "Give --net widths=100.")

    def loss(self, batch: Batch, s: Step) -> torch.Tensor:
        return self.task.loss(self.network(batch.x, s), batch.target)


def test_a_rule_that_refuses_the_small_network_is_not_audited(tmp_path: Path) -> None:
    resolved = with_rule(Picky, "picky")
    outcomes, notes = with_notes(tmp_path, resolved)
    assert outcomes[0].result["status"] == "finished"
    assert notes[-1] == "Not audited: Block 0 has 24 units, picky takes 100."
    content = describe(resolved, outcomes)
    assert {entry["measured"] for entry in content["audit"].values()} == {None}
    assert content["contradictions"] == []
    sync(Home(tmp_path), mlflow=False)
    assert "—" in CliRunner().invoke(compare, ["picky", "--home", str(tmp_path)]).output


def test_a_diverged_run_is_audited_and_a_failed_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"optimizer": "sgd", "lr": 100.0, "schedule": "constant", "weight_decay": 1.0}
    result = run(tmp_path, with_rule(Honest, examples=12_800, recipe=recipe))[0].result
    assert result["status"] == "diverged"
    assert result["audit"]["bp_free"]["measured"] is False

    def explode(*_: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(Honest, "loss", explode)
    failed = run(tmp_path / "failed", with_rule(Honest))[0].result
    assert (failed["status"], failed["reason"]) == ("failed", "RuntimeError: no such kernel")
    assert (failed["audit"], failed["contradictions"], failed["glances"]) == (None, [], [])
