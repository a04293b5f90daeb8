"""Protocols, budgets, phases, and the reasons of runs that do not finish."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lbench.data.split import holdout
from lbench.errors import UsageError
from lbench.rule import GradientRule, LocalRule, View
from lbench.step import Phase, Step
from lbench.task import Batch
from lbench.training.step_plan import StepPlan
from lbench.training.weights import read_weights
from lbench_bp.bp import Bp
from tests.training.helper import ask, run


def test_the_test_set_is_read_once_per_set_of_weights(tmp_path: Path) -> None:
    reads = set()
    for epochs in (2, 9):
        result = run(tmp_path, ask(epochs=epochs))[0].result
        same = result["best_epoch"] == epochs
        reads.add(result["test_reads"])
        assert result["test_reads"] == (1 if same else 2)
    assert reads == {1, 2}
    assert run(tmp_path, ask(protocol="paper"))[0].result["test_reads"] == 1


def test_strict_holds_out_a_tenth_and_paper_trains_on_all(tmp_path: Path) -> None:
    spec = json.loads((run(tmp_path, ask())[0].run_dir / "spec.json").read_text())
    assert (spec["data"]["train"], spec["data"]["validation"]) == (1295, 143)
    result = run(tmp_path, ask(protocol="paper"))[0]
    spec = json.loads((result.run_dir / "spec.json").read_text())
    assert (spec["data"]["train"], spec["data"]["validation"]) == (1438, 0)
    assert result.result["val_error"] is None
    assert result.result["test_error_at_best_val"] is None


def test_reported_errors_are_those_of_the_saved_weights_and_logits(tmp_path: Path) -> None:
    resolved = ask("lfnn_l", epochs=4)
    outcome = run(tmp_path, resolved)[0]
    data = resolved.dataset
    x = torch.from_numpy(np.array(data.test.images)).float() / 255
    for weights, name, error in (
        ("weights.safetensors", "test_logits.npy", "test_error"),
        ("weights-best-val.safetensors", "test_logits_best_val.npy", "test_error_at_best_val"),
    ):
        rule = resolved.cell.build(seed=5)
        rule.load_state_dict(read_weights(outcome.run_dir / weights))
        logits = rule.eval().predict(x)
        wrong = (logits.argmax(1).numpy() != data.test.labels).mean() * 100
        assert outcome.result[error] == pytest.approx(wrong)
        saved = np.load(outcome.run_dir / name)
        assert np.abs(saved.astype(np.float32) - logits.detach().numpy()).max() < 2e-3
    training, heldout = holdout(data.train.labels, 0.1, data.digest)
    rule = resolved.cell.build(seed=5)
    rule.load_state_dict(read_weights(outcome.run_dir / "weights.safetensors"))
    images = torch.from_numpy(np.array(data.train.images)).float() / 255
    wrong_train = rule.predict(images).argmax(1).numpy() != data.train.labels
    assert outcome.result["val_error"] == pytest.approx(100 * wrong_train[heldout].mean())
    assert outcome.result["train_error"] == pytest.approx(100 * wrong_train[training].mean())


def test_the_best_epoch_is_the_first_of_lowest_validation_error(tmp_path: Path) -> None:
    outcome = run(tmp_path, ask(epochs=8))[0]
    rows = [json.loads(line) for line in (outcome.run_dir / "metrics.jsonl").open()]
    errors = [row["val_error"] for row in rows]
    assert outcome.result["best_epoch"] == 1 + errors.index(min(errors))


def test_a_budget_in_examples_ends_inside_an_epoch(tmp_path: Path) -> None:
    outcome = run(tmp_path, ask(examples=2000, recipe={"batch": 32}))[0]
    # An epoch is 41 steps for 1295 examples; the other 705 take 23.
    assert outcome.result["steps"] == 64
    rows = [json.loads(line) for line in (outcome.run_dir / "metrics.jsonl").open()]
    assert [row["step"] for row in rows] == [41, 64]


def test_weights_that_predict_nan_are_diverged_although_all_losses_are_finite(
    tmp_path: Path,
) -> None:
    recipe = {"optimizer": "sgd", "batch": 1295, "lr": 1e2, "weight_decay": 10.0, "momentum": 0.0,
              "schedule": "constant"}  # fmt: skip
    outcome = run(tmp_path, ask(epochs=14, recipe=recipe))[0]
    assert outcome.result["status"] == "diverged"
    assert "loss" in outcome.result["reason"]
    for line in (outcome.run_dir / "metrics.jsonl").open():
        assert "NaN" not in line


def test_a_parameter_that_would_never_be_trained_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lbench.init import Init
    from lbench_lfnn.lfnn_l import LfnnL

    plain = LfnnL.build

    def build(self: LfnnL, init: Init) -> None:
        plain(self, init)
        self.head = init.linear("head", 10, 10)

    monkeypatch.setattr(LfnnL, "build", build)
    with pytest.raises(UsageError, match=r"would never train head\.weight, head\.bias"):
        ask("lfnn_l")


def test_a_rule_that_logs_no_loss_fails_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bp, "gradients", lambda self, batch, s: {})
    outcome = run(tmp_path, ask())[0]
    assert outcome.result["reason"] == "RuntimeError: Bp logs no loss: s.log('loss', …) in its step"


@pytest.mark.parametrize("rule", ["bp", "lfnn", "lfnn_l"])
def test_a_loss_that_explodes_ends_the_run_as_diverged_with_its_step(
    rule: str, tmp_path: Path
) -> None:
    # Each step multiplies the weights by 1 - 100.
    recipe = {"optimizer": "sgd", "lr": 100.0, "schedule": "constant", "weight_decay": 1.0}
    resolved = ask(rule, recipe=recipe)
    outcome = run(tmp_path, resolved)[0]
    assert outcome.result["status"] == "diverged"
    assert "at step" in outcome.result["reason"]
    assert json.loads((outcome.run_dir / "result.json").read_text())["status"] == "diverged"
    assert run(tmp_path, resolved)[0].cached


def test_the_step_named_is_the_first_whose_loss_is_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Bp.loss

    def broken(self: Bp, batch: Batch, s: Step) -> Tensor:
        loss = plain(self, batch, s)
        return loss * float("nan") if s.index + 1 >= 57 else loss

    monkeypatch.setattr(Bp, "loss", broken)
    outcome = run(tmp_path, ask(epochs=3))[0]
    assert outcome.result["reason"] == "loss nan at step 57"


class TwoPhases(LocalRule):
    """A rule that trains block 0, then the rest."""

    def loss(self, v: View, s: Step) -> Tensor:
        return v.h.square().mean()

    def phases(self) -> list[Phase]:
        return [
            Phase("first", 1, frozenset({"block0"})),
            Phase("second", 3, frozenset({"block1", "readout"})),
        ]


def test_phases_share_the_budget_and_leave_other_groups_bit_identical() -> None:
    from lbench.init import Init
    from lbench.networks.mlp import Mlp
    from lbench.randomness import Randomness
    from lbench.recipe import Recipe
    from lbench.task import Task
    from lbench.training.optim import Update

    init = Init(0)
    rule = TwoPhases(
        Mlp(widths=(20, 20)).build(init, (1, 8, 8), 10),
        Task("digits", (1, 8, 8), 10),
        TwoPhases.Config(),
        init,
    )
    rule.attach({group.name: Update(group, Recipe()) for group in rule.groups()})
    plan = StepPlan.of(100, 10, 4, None, rule.phases())
    assert [(p.name, start, count) for p, start, count in plan.phases] == [
        ("first", 0, 10),
        ("second", 10, 30),
    ]
    batch = Batch(torch.rand(10, 1, 8, 8), torch.arange(10))
    for index, moving in ((0, "blocks.0"), (10, ("blocks.1", "readout"))):
        before = {k: v.clone() for k, v in rule.network.state_dict().items()}
        phase = plan.phase(index)[0]
        rule.step(batch, Step(Randomness(0), index, phase=phase))
        for name, value in rule.network.state_dict().items():
            assert torch.equal(value, before[name]) is not name.startswith(moving), name


def test_dropout_is_addressed_and_acts_in_training_only(tmp_path: Path) -> None:
    resolved = ask(recipe={"dropout": 0.5})
    first, second = run(tmp_path / "a", resolved)[0], run(tmp_path / "b", resolved)[0]
    for name, value in read_weights(first.run_dir / "weights.safetensors").items():
        assert torch.equal(value, read_weights(second.run_dir / "weights.safetensors")[name])
    rule = resolved.cell.build(0)
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(rule.predict(x), rule.predict(x))


def test_a_run_leaves_the_global_generators_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    run(tmp_path, ask("lfnn", recipe={"dropout": 0.2}, augmentation="translate1",
                      config={"reference": "random"}))  # fmt: skip
    after = torch.rand(3), np.random.rand(3)
    torch.manual_seed(3)
    np.random.seed(3)
    assert torch.equal(after[0], torch.rand(3))
    assert (after[1] == np.random.rand(3)).all()


def test_two_rules_share_batches_and_initial_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    bp, local = ask("bp").cell.build(1), ask("lfnn_l").cell.build(1)
    of_bp, of_local = bp.network.state_dict(), local.network.state_dict()
    assert all(torch.equal(of_bp[name], of_local[name]) for name in of_bp)
    other = ask("bp").cell.build(2).network.state_dict()
    assert not any(torch.equal(of_bp[name], other[name]) for name in of_bp)


def test_regrouped_layers_keep_their_initial_weights() -> None:
    plain = dict(ask("bp").cell.build(0).network.named_parameters())
    chained = dict(ask("bp", blocks=1).cell.build(0).network.named_parameters())
    assert [tuple(p.shape) for p in plain.values()] == [tuple(p.shape) for p in chained.values()]
    for one, other in zip(plain.values(), chained.values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("rule", ["bp", "lfnn", "lfnn_l"])
def test_bf16_learns_as_fp32_does(rule: str, tmp_path: Path) -> None:
    errors = []
    for precision in ("fp32", "bf16"):
        resolved = ask(rule, precision=precision, epochs=3, recipe={"lr": 0.02})
        errors.append(run(tmp_path, resolved)[0].result["train_error"])
    assert errors[0] < 15
    assert errors[1] == pytest.approx(errors[0], abs=5)


def test_a_rule_without_loss_and_gradients_raises() -> None:
    class Empty(GradientRule):
        pass

    from lbench.init import Init
    from lbench.networks.mlp import Mlp
    from lbench.randomness import Randomness
    from lbench.task import Task

    init = Init(0)
    rule = Empty(Mlp().build(init, (1, 8, 8), 10), Task("digits", (1, 8, 8), 10),
                 Empty.Config(), init)  # fmt: skip
    with pytest.raises(NotImplementedError, match="Empty has neither loss nor gradients"):
        rule.step(Batch(torch.rand(2, 1, 8, 8), torch.tensor([0, 1])), Step(Randomness(0)))
