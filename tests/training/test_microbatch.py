"""Microbatches: the noise, gradients, logs, memory and records of steps in parts."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lbench.claims import Claims
from lbench.config import RuleConfig
from lbench.errors import UsageError
from lbench.init import Init
from lbench.network import Network
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.registry import registry
from lbench.rule import GradientRule, Grads
from lbench.step import Phase, Step
from lbench.task import Batch, Task
from lbench.training.microbatch import Microbatches, noise_rows
from lbench.training.microbatch_check import check_microbatches
from lbench.training.step_memory import StepMemory
from tests.training.helper import Silent, ask, epoch_log, run

SHAPE, CLASSES, EXAMPLES, PART = (1, 2, 3), 4, 10, 4


class Drawing(GradientRule):
    """A rule that stores its noise and the sizes of its batches."""

    def build(self, init: Init) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.drawn: dict[str, list[Tensor]] = {}
        self.sizes: list[int] = []

    def loss(self, batch: Batch, s: Step) -> Tensor:
        self.sizes.append(len(batch.target))
        for stream, (times, *rest) in self.shapes.items():
            # A negative number stands for rows per example.
            rows = -times * len(batch.target) if times < 0 else times
            self.drawn.setdefault(stream, []).append(s.noise(stream, (rows, *rest)))
        return self.task.loss(self.network(batch.x), batch.target)


class Doubled(Drawing):
    """A rule that runs its examples twice, like positives and negatives."""

    def prepare(self, batch: Batch, s: Step) -> Batch:
        return Batch(torch.cat([batch.x, -batch.x]), batch.target.repeat(2))


def make(cls: type[Drawing] = Drawing, **shapes: tuple[int, ...]) -> Any:
    init = Init(0)
    network = Mlp(widths=(PART,)).build(init, SHAPE, CLASSES)
    rule = cls(network, Task("toy", SHAPE, CLASSES), RuleConfig(), init)
    rule.shapes = shapes
    return rule


def batch_of(examples: int = EXAMPLES) -> Batch:
    x = torch.randn(examples, *SHAPE, generator=torch.Generator().manual_seed(1))
    return Batch(x, torch.arange(examples) % CLASSES)


def received(rule: Drawing, size: int, batch: Batch, s: Step | None = None) -> list[Grads]:
    """Return the gradients of each update of a step in parts of this size."""
    updates: list[Grads] = []
    rule.attach({group.name: updates.append for group in rule.groups()})
    Microbatches(size).step(rule, batch, s or Step(Randomness(0)))
    return updates


def test_each_part_gets_its_rows_of_the_noise_that_the_whole_batch_draws() -> None:
    rule = make(own=(-1, 3), twice=(-2, 1, 1))
    received(rule, PART, batch_of())
    whole = Step(Randomness(0))
    assert rule.sizes == [4, 4, 2]
    assert torch.equal(torch.cat(rule.drawn["own"]), whole.noise("own", (EXAMPLES, 3)))
    expected = whole.noise("twice", (2 * EXAMPLES, 1, 1)).view(2, EXAMPLES, 1, 1)
    parts = torch.cat([t.view(2, -1, 1, 1) for t in rule.drawn["twice"]], 1)
    assert torch.equal(parts, expected)
    # A view would keep the noise of the whole batch in memory.
    assert all(t.untyped_storage().nbytes() == t.nbytes for t in rule.drawn["own"])


def test_noise_of_a_weight_is_shared_even_if_the_weight_has_as_many_rows_as_a_part() -> None:
    rule = make(weight=(PART, 3), double=(2 * PART,), scalar=(1,))
    received(rule, PART, batch_of())
    for stream, shape in (("weight", (PART, 3)), ("double", (2 * PART,)), ("scalar", (1,))):
        for drawn in rule.drawn[stream]:
            assert torch.equal(drawn, Step(Randomness(0)).noise(stream, shape))


def test_rows_of_a_batch_that_the_rule_doubles_are_those_of_its_examples() -> None:
    rule = make(Doubled, own=(-1,))
    assert noise_rows(rule, batch_of(1), Step(Randomness(0))) == {"own": 2}
    received(rule, PART, batch_of())
    assert rule.sizes == [8, 8, 4]
    whole = Step(Randomness(0)).noise("own", (2 * EXAMPLES,)).view(2, EXAMPLES)
    assert torch.equal(torch.cat([t.view(2, -1) for t in rule.drawn["own"]], 1), whole)


def test_noise_whose_later_dimensions_follow_the_batch_is_refused() -> None:
    class Square(Drawing):
        def loss(self, batch: Batch, s: Step) -> Tensor:
            s.noise("pairs", (len(batch.x), len(batch.x)))
            return super().loss(batch, s)

    with pytest.raises(UsageError, match=r"'pairs' cannot .* 2x2 for 2 examples and 3x3 for 3"):
        received(make(Square), PART, batch_of())


def test_noise_of_several_shapes_under_one_name_is_refused() -> None:
    class Several(Drawing):
        def loss(self, batch: Batch, s: Step) -> Tensor:
            s.noise("a", (len(batch.x),))
            s.noise("a", (5,))
            return super().loss(batch, s)

    with pytest.raises(UsageError, match="'a' is drawn with several shapes"):
        received(make(Several), PART, batch_of())


def test_noise_is_observed_again_in_another_phase_and_at_the_end_of_an_epoch() -> None:
    class Late(Drawing):
        def loss(self, batch: Batch, s: Step) -> Tensor:
            if s.last or s.phase is not None:
                self.drawn.setdefault("late", []).append(s.noise("late", (len(batch.x),)))
            return super().loss(batch, s)

    rule, microbatches = make(Late), Microbatches(PART)
    rule.attach({group.name: lambda grads: None for group in rule.groups()})
    for index, options in enumerate([{}, {"last": True}, {"phase": Phase("second")}]):
        s = Step(Randomness(0), index, **options)  # type: ignore[arg-type]
        microbatches.step(rule, batch_of(), s)
    whole = [Step(Randomness(0), index).noise("late", (EXAMPLES,)) for index in (1, 2)]
    assert torch.equal(torch.cat(rule.drawn["late"]), torch.cat(whole))


def test_noise_that_appears_later_ends_the_run_with_a_message() -> None:
    class Tenth(Drawing):
        def loss(self, batch: Batch, s: Step) -> Tensor:
            if s.index == 10:
                s.noise("tenth", (len(batch.x),))
            return super().loss(batch, s)

    rule, microbatches = make(Tenth), Microbatches(PART)
    rule.attach({group.name: lambda grads: None for group in rule.groups()})
    microbatches.step(rule, batch_of(), Step(Randomness(0), 9))
    with pytest.raises(UsageError, match="'tenth' is new in step 11") as caught:
        microbatches.step(rule, batch_of(), Step(Randomness(0), 10))
    assert "Leave out --microbatch" in caught.value.hint
    assert set(rule._updates) == {group.name for group in rule.groups()}


def test_an_update_gets_the_mean_of_the_gradients_weighted_by_examples() -> None:
    (whole,), (parts,) = (received(make(), size, batch_of()) for size in (EXAMPLES, PART))
    assert whole.keys() == parts.keys()
    for name, grad in whole.items():
        torch.testing.assert_close(parts[name], grad)


def test_logs_are_means_and_the_rule_sees_them_after_the_step() -> None:
    class Logging(Drawing):
        def after_step(self, s: Step) -> None:
            self.seen = dict(s.logs)

    logs = []
    for size in (EXAMPLES, PART):
        rule, s = make(Logging), Step(Randomness(0))
        received(rule, size, batch_of(), s)
        assert rule.seen == s.logs
        logs.append(s.logs["loss"])
    torch.testing.assert_close(logs[1], logs[0])


def test_a_tensor_that_is_the_gradient_of_two_parameters_is_averaged_for_each() -> None:
    class Twins(Drawing):
        def gradients(self, batch: Batch, s: Step) -> Grads:
            s.log("loss", batch.x.mean())
            grad = batch.x.mean(0).sum().view(1)
            return {"one": grad, "other": grad}

    rule = make(Twins)
    rule._trained = {name: nn.Parameter(torch.ones(1)) for name in ("one", "other")}
    rule._groups = {"all": rule._trained}
    (grads,) = received(rule, PART, batch_of())
    for grad in grads.values():
        torch.testing.assert_close(grad, batch_of().x.mean(0).sum().view(1))


def test_a_batch_that_is_no_larger_than_a_part_runs_as_a_whole() -> None:
    whole, part = make(own=(-1,)), make(own=(-1,))
    (expected,) = received(whole, EXAMPLES, batch_of(PART))
    (grads,) = received(part, PART, batch_of(PART))
    assert part.sizes == [PART]
    assert all(torch.equal(grads[name], grad) for name, grad in expected.items())
    microbatches, batch = Microbatches(PART), batch_of(PART)
    assert microbatches.first(batch) is batch
    assert len(microbatches.first(batch_of()).target) == PART


def test_a_group_that_is_updated_twice_is_refused_and_keeps_its_optimizer() -> None:
    class Twice(Drawing):
        def step(self, batch: Batch, s: Step) -> None:
            super().step(batch, s)
            super().step(batch, s)

    rule = make(Twice)
    update = {group.name: lambda grads: None for group in rule.groups()}
    rule.attach(update)
    with pytest.raises(UsageError, match="Group 'all' is updated more than once"):
        Microbatches(PART).step(rule, batch_of(), Step(Randomness(0)))
    assert rule._updates is update


def test_a_step_stores_the_activations_of_one_part() -> None:
    init, memory = Init(0), []
    shape = (1, 4, 4)
    network = Mlp(widths=(32,) * 6).build(init, shape, CLASSES)
    cls = registry().load("rules", "bp")
    x, target = torch.randn(2000, *shape), torch.arange(2000) % CLASSES
    for size in (2000, 500):
        rule = cls(copy.deepcopy(network), Task("toy", shape, CLASSES), cls.Config(), Init(0))
        rule.attach({group.name: lambda grads: None for group in rule.groups()})
        microbatches, measured = Microbatches(size), StepMemory()
        microbatches.step(rule, Batch(x, target), Step(Randomness(0)))
        with measured.measure():
            microbatches.step(rule, Batch(x, target), Step(Randomness(0)))
        memory.append(measured.mib or 0.0)
    # Both also have gradients, and microbatches have them twice.
    assert 0.25 < memory[1] / memory[0] < 0.35


class Unclaimed(Drawing):
    """A rule without claims."""


class Sequential(GradientRule):
    """A rule whose second gradient is one at the weights behind its first update."""

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(couples="none")

    def loss(self, batch: Batch, s: Step) -> Tensor:
        return self.task.loss(self.network(batch.x), batch.target)

    def groups(self) -> Any:
        return super(GradientRule, self).groups()

    def step(self, batch: Batch, s: Step) -> None:
        for group, params in self._groups.items():
            grads = self.gradients(batch, s)
            self.update(group, {name: grads[name] for name in params})


class Sum(Sequential):
    """A rule with the sum of the examples' gradients."""

    def step(self, batch: Batch, s: Step) -> None:
        GradientRule.step(self, batch, s)

    def gradients(self, batch: Batch, s: Step) -> Grads:
        return {n: len(batch.x) * g for n, g in super().gradients(batch, s).items()}


class Counting(Sum):
    """A rule whose buffer counts examples in its step instead of after it."""

    def build(self, init: Init) -> None:
        self.register_buffer("calls", torch.zeros(()))

    def gradients(self, batch: Batch, s: Step) -> Grads:
        self.get_buffer("calls").add_(1)
        return GradientRule.gradients(self, batch, s)


class Plain(Sum):
    """A rule with equal updates, which keeps a tensor outside of parameters and buffers."""

    def build(self, init: Init) -> None:
        self.factor = torch.ones(1)

    def gradients(self, batch: Batch, s: Step) -> Grads:
        return {n: self.factor * g for n, g in GradientRule.gradients(self, batch, s).items()}


class Failing(Plain):
    """A rule that fails on a single example."""

    def gradients(self, batch: Batch, s: Step) -> Grads:
        assert len(batch.x) > 1, "one example"
        return super().gradients(batch, s)


def checked(cls: type[GradientRule]) -> None:

    cell = replace(ask("bp").cell, rule="mine", rule_class=cls, config=RuleConfig(), microbatch=4)
    check_microbatches(cell, cell.build(0))


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (Unclaimed, "does not claim how it couples"),
        (Sequential, "differs after a few steps"),
        (Sum, "differs after a few steps"),
        (Counting, "calls differs after a few steps"),
        (Failing, "failed with AssertionError: one example"),
    ],
)
def test_a_rule_whose_updates_would_differ_is_refused_with_the_reason(
    cls: type[GradientRule], reason: str
) -> None:
    with pytest.raises(UsageError, match=f"would change the updates of rule mine: .*{reason}"):
        checked(cls)


def test_a_rule_with_equal_updates_passes_the_check() -> None:
    checked(Plain)


def test_batchnorm_is_refused_with_the_option_that_does_without_it() -> None:
    with pytest.raises(UsageError, match="the BatchNorm of this network") as caught:
        ask("bp", network="cnn", microbatch=8)
    assert caught.value.hint.startswith("Add --net norm=group")
    ask("bp", network="cnn", network_options={"norm": "group"}, microbatch=8)
    ask("softmax_regression", network="cnn", microbatch=8)  # it does not use the network


def test_a_microbatch_that_no_batch_exceeds_cannot_act() -> None:
    plain = ask()
    for size in (32, 1000):
        resolved = ask(microbatch=size)
        assert resolved.cell.fingerprint == plain.cell.fingerprint
        assert resolved.notes == ["microbatch cannot act: a batch has 32 examples."]
    with pytest.raises(UsageError, match="--microbatch must be at least 1, but got 0"):
        ask(microbatch=0)


def test_runs_have_the_results_of_whole_batches_and_record_the_microbatch(tmp_path: Path) -> None:
    recipe = {"dropout": 0.2, "batch": 64}
    whole = run(tmp_path, ask(recipe=recipe, epochs=1), audit=True)[0]
    resolved = ask(recipe=recipe, epochs=1, microbatch=24)
    parts = run(tmp_path, resolved, audit=True)[0]
    assert "microbatch=24" in resolved.cell.id
    spec = json.loads((parts.run_dir / "spec.json").read_text())["spec"]
    assert spec["microbatch"] == 24
    assert "microbatch" not in json.loads((whole.run_dir / "spec.json").read_text())["spec"]
    for one, other in zip(epoch_log(whole.run_dir), epoch_log(parts.run_dir), strict=True):
        assert other["train_loss"] == pytest.approx(one["train_loss"], rel=1e-3)
    assert parts.result["contradictions"] == []
    assert len(parts.result["glances"]) == 4
    assert parts.result["step_flops"] == pytest.approx(whole.result["step_flops"], rel=0.01)


class Stopping(Silent):
    """A reporter that stops the run at its second loss report."""

    reports = 0

    def step(self, done: int, loss: float) -> None:
        self.reports += 1

    def stop_reason(self) -> str | None:
        return "interrupted" if self.reports == 2 else None


def test_a_stopped_run_continues_bit_for_bit(tmp_path: Path) -> None:
    """The new process observes the noise of the steps again."""
    resolved = ask(recipe={"dropout": 0.2}, microbatch=12)
    straight = run(tmp_path / "straight", resolved)[0]
    stopped = run(tmp_path / "stopped", resolved, reporter=Stopping())[0]
    assert stopped.result["status"] == "killed"
    assert 0 < stopped.result["steps"] < straight.result["steps"]
    resumed = run(tmp_path / "stopped", resolved)[0]
    assert epoch_log(resumed.run_dir) == epoch_log(straight.run_dir)
    assert resumed.result["test_loss"] == straight.result["test_loss"]
