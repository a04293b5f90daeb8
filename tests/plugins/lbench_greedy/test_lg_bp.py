"""lg_bp: every block has the exact gradient of its own classifier's loss only."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.data.loader import Batches, DeviceData
from lbench.init import Init
from lbench.networks.mixer import LocalMixer
from lbench.randomness import Randomness
from lbench.rule import Rule, View
from lbench.rundir import RunDir
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.training.job import parameters
from lbench.training.step_plan import StepPlan
from lbench.training.trainer import Trainer
from lbench.training.trainer_parts import Output, Procedure, TrainingData
from lbench_bp.bp import Bp
from lbench_greedy.lg_bp import LgBp
from tests.plugins.small import NETS, assert_same, batch_of, gradients, make
from tests.training.helper import Silent, ask, run

NET = pytest.mark.parametrize("net", NETS)
CONV = {"k": 2, "pool": 2}


def gradients_in(rule: Rule, batch: Batch, s: Step) -> dict[str, Tensor]:
    """Return the gradients that the optimizers receive in a step of a phase."""
    received: dict[str, Tensor] = {}
    rule.attach({group.name: received.update for group in rule.groups()})
    rule.step(batch, s)
    return received


def grid_means(h: Tensor, side: int) -> Tensor:
    """Return means over side x side cells of equal size; features without positions stay."""
    if h.dim() == 2:
        return h
    side = min(side, h.shape[2])
    size = h.shape[2] // side
    cells = [
        h[:, :, i * size : (i + 1) * size, j * size : (j + 1) * size].mean((2, 3))
        for i in range(side)
        for j in range(side)
    ]
    return torch.stack(cells, 2).flatten(1)


@NET
@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("pool", [1, 2])
def test_a_block_has_the_gradient_of_its_own_classifiers_loss(
    net: str, head: str, pool: int
) -> None:
    rule, batch = make(LgBp, NETS[net], head=head, pool=pool), batch_of()
    actual = gradients(rule, batch)
    named, total, x = dict(rule.named_parameters()), torch.zeros(()).double(), batch.x
    for k, block in enumerate(rule.network.blocks):
        h = block.activate(block.preactivation(x.detach()))
        features = grid_means(h, pool)
        layers = [m for m in rule.heads[k] if isinstance(m, nn.Linear)]
        assert len(layers) == (2 if head == "mlp" else 1)
        for layer in layers[:-1]:
            features = F.relu(features @ layer.weight.T + layer.bias)
        logits = features @ layers[-1].weight.T + layers[-1].bias
        log_p = logits.log_softmax(1)
        total = total - log_p[range(len(x)), batch.target].mean()
        x = block.emit(h)
    logits = rule.network.readout(x.detach())
    total = total - logits.log_softmax(1)[range(len(x)), batch.target].mean()
    grads = torch.autograd.grad(total, list(named.values()))
    assert_same(actual, dict(zip(named, grads, strict=True)))


@NET
def test_one_block_with_the_readout_as_its_classifier_learns_as_bp(net: str) -> None:
    rule, bp, batch = make(LgBp, NETS[net], blocks=1), make(Bp, NETS[net], blocks=1), batch_of()
    rule.heads[0][-1].load_state_dict(rule.network.readout.linear.state_dict())
    actual, expected = gradients(rule, batch), gradients(bp, batch)
    for part in ("weight", "bias"):
        head = actual.pop(f"heads.0.1.{part}")
        torch.testing.assert_close(head, expected[f"network.readout.linear.{part}"])
    assert_same(actual, expected)


class Loud(LgBp):
    """A rule that multiplies the loss of block ``loud`` by a million."""

    loud = -1

    def loss(self, v: View, s: Step) -> Tensor:
        return super().loss(v, s) * (1e6 if v.k == self.loud else 1)


@NET
@pytest.mark.parametrize("k", [0, 1])
@pytest.mark.parametrize("options", [{}, CONV], ids=str)
def test_scaling_a_blocks_loss_changes_no_other_block(
    net: str, k: int, options: dict[str, Any]
) -> None:
    rule, batch = make(Loud, NETS[net], **options), batch_of()
    quiet = gradients(rule, batch)
    rule.loud = k
    loud = gradients(rule, batch)
    own = [name for name in quiet if name.startswith((f"network.blocks.{k}.", f"heads.{k}."))]
    assert len(own) >= 4
    for name, grad in quiet.items():
        if name in own:
            torch.testing.assert_close(loud[name], 1e6 * grad)
        else:
            assert torch.equal(loud[name], grad), name


@NET
@pytest.mark.parametrize("options", [{}, CONV], ids=str)
def test_nan_behind_a_block_does_not_reach_it(net: str, options: dict[str, Any]) -> None:
    rule, batch = make(LgBp, NETS[net], **options), batch_of()
    clean = gradients(rule, batch)
    with torch.no_grad():
        for module in (*rule.network.blocks[1:], rule.network.readout, *rule.heads[1:]):
            for p in module.parameters():
                p.fill_(math.nan)
    broken = gradients(rule, batch)
    first = [name for name in clean if name.startswith(("network.blocks.0.", "heads.0."))]
    assert len(first) >= 4
    for name in first:
        assert torch.equal(broken[name], clean[name])


def test_the_claimed_depth_counts_the_maps_behind_a_blocks_first_layer() -> None:
    def depth(net: str, blocks: int | None = None, **options: Any) -> Any:
        rule = make(LgBp, NETS[net], blocks=blocks, **options)
        return LgBp.claims(rule.config, rule.network).backward_depth

    assert depth("mlp") == 1  # the head
    assert depth("mlp", head="mlp") == 2
    assert depth("mlp", blocks=1) == 3
    assert depth("resnet") == 2
    assert depth("mixer") == 3
    assert depth("mlp", k=3) == 3
    assert depth("mlp", k=3, head="mlp") == 4


def owner(name: str) -> int:
    """Return the index of the block in whose phase a parameter or buffer changes."""
    layer = re.match(r"(?:network\.blocks|heads)\.(\d)\.", name)
    assert layer or name.startswith("network.readout.")
    return int(layer[1]) if layer else 2


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, CONV], ids=str)
def test_a_sequential_step_trains_the_block_of_its_phase_and_logs_a_loss(
    k: int, options: dict[str, Any]
) -> None:
    rule, batch = make(LgBp, NETS["cnn"], schedule="sequential", **options), batch_of()
    phase = rule.phases()[k]
    assert (phase.name, phase.share, len(rule.phases())) == (f"block{k}", 1.0, 3)
    s = Step(Randomness(0), phase=phase)
    actual = gradients_in(rule, batch, s)
    assert set(actual) == {name for name, _ in rule.named_parameters() if owner(name) == k}
    x = batch.x
    with torch.no_grad():
        for j, block in enumerate(rule.network.blocks[: k + 1]):
            block.train(j == k)
            h = block.activate(block.preactivation(x))
            x = block.emit(h)
        logits = rule.network.readout(x) if k == 2 else rule.heads[k](h)
    torch.testing.assert_close(s.logs["loss"], F.cross_entropy(logits, batch.target))


class Snapshots(Silent):
    """A reporter that stores the state of the rule and of its blocks after every epoch."""

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule
        self.states: list[dict[str, Tensor]] = []

    def epoch(self, row: dict[str, Any]) -> None:
        super().epoch(row)
        self.states.append({k: v.clone() for k, v in self.rule.state_dict().items()})


@pytest.mark.parametrize("options", [{}, CONV], ids=str)
def test_finished_blocks_stay_bit_identical_in_training(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """Later blocks keep their initial parameters and BatchNorm buffers too."""
    resolved = ask("lg_bp", network="cnn", network_options={"widths": "10,10,10"}, epochs=6,
                   config={"schedule": "sequential", **options}, recipe={"batch": 512})  # fmt: skip
    cell, randomness = resolved.cell, Randomness(0)
    rule = cell.build(0)
    initial = {name: value.clone() for name, value in rule.state_dict().items()}
    data = DeviceData.of(resolved.dataset.train)
    batches = Batches(data, cell.recipe.batch, randomness.generator)
    plan = StepPlan.of(len(data), cell.recipe.batch, 6, None, rule.phases())
    reporter = Snapshots(rule)
    Trainer(
        rule,
        TrainingData(batches),
        Procedure(cell.recipe, plan, randomness),
        Output(RunDir(tmp_path), reporter),
    ).train()
    assert [row["phase"] for row in reporter.rows] == [f"block{k}" for k in (0, 0, 1, 1, 2, 2)]
    states = [initial, *reporter.states]
    for name, value in initial.items():
        start, stop = 2 * owner(name), 2 * owner(name) + 2
        assert all(torch.equal(state[name], value) for state in states[: start + 1]), name
        assert not torch.equal(states[start + 1][name], value), name
        assert all(torch.equal(state[name], states[stop][name]) for state in states[stop:]), name


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("schedule", ["simultaneous", "sequential"])
def test_digits_are_learned(schedule: str, tmp_path: Path) -> None:
    outcome = run(tmp_path, ask("lg_bp", config={"schedule": schedule}, epochs=16))[0]
    assert outcome.result["test_error"] < 5


def test_the_smallest_localmixer_has_the_published_parameters_on_mnist() -> None:
    init, shape = Init(0), (1, 28, 28)
    network = LocalMixer().build(init, shape, 10)
    rule = LgBp(network, Task("mnist", shape, 10), LgBp.Config(), init)
    counts = parameters(rule, shape)
    assert counts["inf"] + counts["aux"] == 271_892
    assert counts["fix"] == 0
