"""Probes change no result, count as neither time nor memory, and survive a kill."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from lbench.data.split import holdout
from lbench.errors import UsageError
from lbench.hooks import ProbeEntry
from lbench.probe import Column, Probe
from lbench.registry import registry
from lbench.step import Step
from lbench.task import Batch
from lbench.training import checkpoint
from lbench.training.trainer import Trainer
from tests.training.helper import Silent, ask, epoch_log, lbench_run, run
from tests.training.test_resume import assert_equal_runs, start_and_wait

# The tests of each probe and of its figures cover what these run.
pytestmark = pytest.mark.no_cover

MIB = 2**20


@pytest.fixture
def own_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the probes of this file, as a plugin would."""
    for cls in (Norms, Wasteful, Broken, Picky, Wrong, HeldOut):
        entry = ProbeEntry(cls.__name__.lower(), "", f"{__name__}:{cls.__name__}")
        monkeypatch.setitem(registry().probes, entry.name, entry)
        monkeypatch.setitem(registry().owners, ("probes", entry.name), "tests")


class Norms(Probe):
    """Norms of parameters before and after every third step, and of its gradients."""

    columns: ClassVar = {
        "before": Column("float", ""),
        "after": Column("float", ""),
        "grads": Column("list[float]", ""),
        "noise": Column("float", ""),
    }

    def due(self, index: int) -> bool:
        return index % 3 == 0

    def before_step(self, batch: Batch, s: Step) -> None:
        assert not self.scene.rule.training
        self.before = self.norm()
        self.grads: list[float] = []

    def at_update(self, group: str, grads: Mapping[str, Tensor]) -> None:
        assert self.scene.rule.training
        self.grads += [grads[name].norm().item() for name in grads]

    def after_step(self, batch: Batch, s: Step) -> None:
        noise = torch.randn((), generator=self.generator("noise", s.index))
        self.record(before=self.before, after=self.norm(), grads=self.grads, noise=noise)

    def norm(self) -> float:
        return sum(p.double().norm().item() for p in self.scene.rule.parameters())


class Wasteful(Probe):
    """A probe that takes 0.1 s and 300 MiB, also at the step whose memory is measured."""

    def due(self, index: int) -> bool:
        return index in (2, 10, 20, 30)

    def before_step(self, batch: Batch, s: Step) -> None:
        self.waste()

    def at_update(self, group: str, grads: Mapping[str, Tensor]) -> None:
        self.waste()

    def after_step(self, batch: Batch, s: Step) -> None:
        self.waste()

    def epoch_end(self, epoch: int, step: int) -> None:
        self.waste()

    def waste(self) -> None:
        torch.ones(300 * MIB // 4).sum()
        torch.ones(100, 1000) @ torch.ones(1000, 100)
        time.sleep(0.1)


class Broken(Probe):
    columns: ClassVar = {"loss": Column("float", "")}

    def after_step(self, batch: Batch, s: Step) -> None:
        self.record(loss=s.logs["loss"])
        if s.index == 30:
            raise RuntimeError("no such layer")


class Picky(Probe):
    def begin(self) -> None:
        raise UsageError("Only lfnn has workers.")


class Wrong(Probe):
    columns: ClassVar = {"loss": Column("float", "")}

    def after_step(self, batch: Batch, s: Step) -> None:
        self.record(los=1.0)


class HeldOut(Probe):
    """The labels that a probe can read."""

    columns: ClassVar = {"training": Column("list[int]", ""), "heldout": Column("list[int]", "")}

    def epoch_end(self, epoch: int, step: int) -> None:
        scene = self.scene
        idx = torch.arange(len(scene.heldout))
        images, labels = scene.heldout.batch(idx)
        assert torch.equal(labels, scene.heldout.labels)
        assert images.shape == (len(idx), *scene.rule.task.shape)
        self.record(training=scene.training.labels, heldout=labels)


def table(run_dir: str | Path, probe: str) -> Any:
    from pyarrow import parquet

    return parquet.read_table(Path(run_dir) / "probes" / f"{probe}.parquet")


def all_that_fit(rule: str) -> list[str]:
    owners = {"probes", "lfnn"} if rule.startswith("lfnn") else {"probes"}
    known = registry()
    # Digits are no sequence of tasks.
    return [n for n in known.probes if known.owner("probes", n) in owners and n != "tasks"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "options"),
    [
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in (
                ("bp", {"precision": "bf16"}),
                ("lfnn", {}),
                ("fa", {}),
                ("lfnn_online", {"network": "one-vs-all"}),
                ("lfnn_l", {"config": {"selection": "epoch"}}),
            )
        ),
        ("bp", {"recipe": {"dropout": 0.2}, "network_options": {"norm": "batch"}}),
        ("fg_w", {}),
        ("lfnn_l_rr", {"config": {"selection": "random"}}),
    ],
    ids=str,
)
def test_a_run_with_all_probes_is_bit_identical_to_one_without(
    rule: str, options: dict[str, Any], tmp_path: Path
) -> None:
    resolved = ask(rule, epochs=2, **options)
    plain = run(tmp_path / "plain", resolved)[0]
    state = torch.get_rng_state()
    probes = all_that_fit(rule)
    reporter = Silent()
    with_probes = run(tmp_path / "seen", resolved, probes=probes, reporter=reporter)[0]
    assert torch.equal(torch.get_rng_state(), state)
    assert not [note for note in reporter.notes if "ended at step" in note]
    assert_equal_runs(str(plain.run_dir), str(with_probes.run_dir))
    for logits in ("test_logits.npy", "test_logits_best_val.npy"):
        assert (plain.run_dir / logits).read_bytes() == (with_probes.run_dir / logits).read_bytes()
    assert plain.run_dir.relative_to(tmp_path / "plain") == with_probes.run_dir.relative_to(
        tmp_path / "seen"
    )
    for probe in probes:
        assert len(table(with_probes.run_dir, probe)) > 0
    assert sorted(path.suffix for path in (with_probes.run_dir / "probes").iterdir()) == [
        ".parquet" for _ in probes
    ]


def test_rows_have_step_and_epoch_from_1_and_the_gradients_of_the_step(
    tmp_path: Path, own_probes: None
) -> None:
    recipe = {"optimizer": "sgd", "momentum": 0.0, "schedule": "constant", "lr": 0.5}
    outcome = run(tmp_path, ask(epochs=2, recipe=recipe), probes=["norms"])[0]
    rows = table(outcome.run_dir, "norms").to_pylist()
    assert [row["step"] for row in rows] == list(range(1, 83, 3))
    assert [row["epoch"] for row in rows] == [1 + (row["step"] > 41) for row in rows]
    for row in rows:
        assert len(row["grads"]) == 6
        # The norm of a parameter moves by at most lr times that of its gradient.
        assert 0 < abs(row["after"] - row["before"]) <= 0.5 * sum(row["grads"])
    assert len({row["noise"] for row in rows}) == len(rows)


@pytest.mark.parametrize("every", [0, 3600])
def test_a_resumed_run_ends_with_the_same_table(
    every: int, tmp_path: Path, own_probes: None
) -> None:
    resolved = ask("lfnn_l", epochs=4)
    straight = run(tmp_path / "straight", resolved, probes=["norms", "online", "broken"])[0]
    plain = Trainer._step

    def killed(self: Trainer, *position: Any, **last: Any) -> None:
        if self.index in (50, 90, 139) and not done[self.index]:
            done[self.index] = True
            raise KeyboardInterrupt
        plain(self, *position, **last)

    done = dict.fromkeys((50, 90, 139), False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", killed)
        for _ in done:
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path / "killed", resolved, probes=["norms", "online", "broken"],
                    checkpoint_every=every)  # fmt: skip
    resumed = run(tmp_path / "killed", resolved, probes=["norms", "online", "broken"])[0]
    assert all(done.values())
    assert resumed.attempt == 1
    for probe in ("norms", "online", "broken"):
        assert table(resumed.run_dir, probe).equals(table(straight.run_dir, probe), True)
    assert_equal_runs(str(straight.run_dir), str(resumed.run_dir))


def test_a_killed_process_continues_with_its_probes(tmp_path: Path) -> None:
    arguments = ("--rule", "bp", "--dataset", "digits", "--epochs", "12", "--no-store",
                 "--checkpoint-every", "0", "--probe", "online")  # fmt: skip
    straight = lbench_run(*arguments, home=tmp_path / "straight")
    process = start_and_wait(tmp_path / "killed", *arguments, checkpoints=3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed = lbench_run(*arguments, home=tmp_path / "killed")
    tables = [table(content["runs"][0]["run_dir"], "online") for content in (straight, resumed)]
    assert tables[0].equals(tables[1])
    assert len(tables[0]) == 12 * 41


def test_a_run_that_began_without_a_probe_starts_again_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = ask(epochs=3)
    plain = Trainer._end_epoch

    def killed(self: Trainer) -> None:
        plain(self)
        self.save()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_end_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, resolved)
    reporter = Silent()
    outcome = run(tmp_path, resolved, probes=["online"], reporter=reporter)[0]
    assert "Its checkpoint has no rows of probe online: starting again." in reporter.notes
    assert (outcome.attempt, len(table(outcome.run_dir, "online"))) == (1, 3 * 41)
    assert len(epoch_log(outcome.run_dir)) == 3


def test_a_run_that_lost_rows_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = ask(epochs=3)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_end_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, resolved, probes=["online"], checkpoint_every=0)
    (rows,) = tmp_path.glob("runs/*/*/probes/online.jsonl")
    rows.write_text("")
    assert checkpoint.load(rows.parents[1])[0] is not None
    reporter = Silent()
    outcome = run(tmp_path, resolved, probes=["online"], reporter=reporter)[0]
    assert [note for note in reporter.notes if "lacks rows" in note]
    assert len(table(outcome.run_dir, "online")) == 3 * 41


@pytest.mark.slow
@pytest.mark.thorough
def test_time_and_memory_of_probes_do_not_count(tmp_path: Path, own_probes: None) -> None:
    resolved = ask(epochs=1)
    plain = run(tmp_path / "plain", resolved)[0].result
    with_probes = run(tmp_path / "seen", resolved, probes=["wasteful"])[0].result
    wasted = 0.1 * (3 * 4 + 1)
    assert with_probes["seconds"]["training"] < plain["seconds"]["training"] + wasted / 5
    assert with_probes["seconds"]["evaluation"] < plain["seconds"]["evaluation"] + wasted / 5
    assert with_probes["seconds"]["other"] > wasted
    assert with_probes["peak_memory_mib"] < plain["peak_memory_mib"] + 150
    assert with_probes["step_memory_mib"] == plain["step_memory_mib"]
    assert with_probes["step_flops"] == plain["step_flops"]


def test_a_probe_that_raises_is_noted_and_the_run_continues(
    tmp_path: Path, own_probes: None
) -> None:
    reporter = Silent()
    outcome = run(tmp_path, ask(), probes=["broken", "wrong", "online"], reporter=reporter)[0]
    assert outcome.result["status"] == "finished"
    notes = [note for note in reporter.notes if "ended at step" in note]
    assert notes[1].endswith("ended at step 31; the run continues. RuntimeError: no such layer")
    assert "its columns are ['loss'], but it records ['los']" in notes[0]
    broken = table(outcome.run_dir, "broken")
    assert len(broken) == 31
    assert broken.schema.metadata[b"ended"] == b"step 31: RuntimeError: no such layer"
    assert len(table(outcome.run_dir, "wrong")) == 0
    assert len(table(outcome.run_dir, "online")) == 82
    assert run(tmp_path, ask(), probes=["broken"])[0].cached


def test_a_probe_that_refuses_the_rule_stops_the_run_before_training(
    tmp_path: Path, own_probes: None
) -> None:
    with pytest.raises(UsageError, match="Only lfnn has workers"):
        run(tmp_path, ask(), probes=["picky"])
    assert not list(tmp_path.rglob("spec.json"))


def test_a_finished_run_without_the_table_is_trained_again_once(
    tmp_path: Path, own_probes: None
) -> None:
    first = run(tmp_path, ask())[0]
    reporter = Silent()
    second = run(tmp_path, ask(), probes=["online"], reporter=reporter)[0]
    assert "It has ended without probe online: training it again." in reporter.notes
    assert (first.fingerprint, 2, False) == (second.fingerprint, second.attempt, second.cached)
    assert_equal_runs(str(first.run_dir), str(second.run_dir))
    assert run(tmp_path, ask(), probes=["online"])[0].cached
    assert run(tmp_path, ask())[0].attempt == 2
    third = run(tmp_path, ask(), probes=["norms"])[0]
    assert third.attempt == 3
    # It has the tables of earlier attempts too, so the runs do not alternate.
    again = run(tmp_path, ask(), probes=["online", "norms"])[0]
    assert (again.attempt, again.cached) == (3, True)


def test_a_diverged_run_keeps_its_rows(tmp_path: Path) -> None:
    recipe = {"optimizer": "sgd", "lr": 100.0, "schedule": "constant", "weight_decay": 1.0}
    outcome = run(tmp_path, ask(recipe=recipe), probes=["online"])[0]
    assert outcome.result["status"] == "diverged"
    assert len(table(outcome.run_dir, "online")) >= 25


@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_the_same_examples_are_held_out_under_both_protocols(
    protocol: str, tmp_path: Path, own_probes: None
) -> None:
    resolved = ask(epochs=1, protocol=protocol)
    outcome = run(tmp_path, resolved, probes=["heldout"])[0]
    (row,) = table(outcome.run_dir, "heldout").to_pylist()
    labels = resolved.dataset.train.labels
    training, heldout = holdout(labels, 0.1, resolved.dataset.digest)
    assert row["training"] == labels[training].tolist()
    assert row["heldout"] == labels[heldout].tolist()


def test_an_unknown_probe_gets_the_nearest_names(tmp_path: Path) -> None:
    failed = lbench_run("--rule", "bp", "--dataset", "digits", "--probe", "onlin", home=tmp_path,
                      code=2)  # fmt: skip
    assert "Unknown probe 'onlin'" in failed["error"]["message"]
    assert "online" in failed["error"]["hint"]
