"""The choice of leaders: their number, their losses, the time of the choice, and its records."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lbench.errors import UsageError
from lbench.network import Block
from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.registry import registry
from lbench.rule import Rule
from lbench.step import Step
from lbench.studies.definition import Span
from lbench.studies.space import declared_domain
from lbench_lfnn.config import UnitConfig
from lbench_lfnn.lfnn import Lfnn
from lbench_lfnn.lfnn_l import LfnnL
from lbench_lfnn.workers import UnitWorkers

from . import paper

RULES = pytest.mark.parametrize("rule_class", [Lfnn, LfnnL])
NETS = pytest.mark.parametrize("net", ["mlp", "cnn"])


def block_of(width: int) -> Block:
    block: Block = paper.make(LfnnL, Mlp(widths=(width,)), (1, 1, 1), classes=1).network.blocks[0]
    return block


def inputs_of(rule: Rule, x: Tensor) -> list[Tensor]:
    """Return the input of each block, computed independently of the rule."""
    inputs = []
    for block in rule.network.blocks:
        inputs.append(x)
        x = block.emit(paper.activation(rule, block, block.preactivation(x))).detach()
    return inputs


def leader_indices(s: Step, k: int) -> list[int]:
    return s.logs[f"leaders/{k}"].nonzero().flatten().tolist()


def by_batch(rule: Rule, batch: paper.Batch) -> list[list[int]]:
    """Return the leaders of every block in ascending order, by sorting mean cross-entropies."""
    by_block = []
    for block, x in zip(rule.network.blocks, inputs_of(rule, batch.x), strict=True):
        logits = paper.worker_scores(rule, block, block.preactivation(x))
        losses = paper.worker_losses(logits, batch.target).mean(0).tolist()
        n = paper.leader_count(rule.config.leadership, len(losses), rule.config.rounding)
        by_block.append(sorted(paper.lowest(losses, n)))
    return by_block


@pytest.mark.parametrize("rounding", ["round", "floor", "ceil"])
def test_leader_count_is_exact_arithmetic_on_the_decimal_fraction(rounding: str) -> None:
    typed = [*(f"0.{d}" for d in range(1, 10)), "1.0", "0.25", "0.29", "0.55"]
    for width in range(1, 65):
        block = block_of(width)
        for text in typed:
            config = UnitConfig(leadership=float(text), rounding=rounding)
            actual = UnitWorkers(block, 1, config).leaders
            assert actual == paper.leader_count(float(text), width, rounding), (text, width)


@pytest.mark.parametrize(
    ("leadership", "workers", "rounding", "expected"),
    [
        (0.2, 32, "round", 6),
        (0.2, 32, "ceil", 7),
        (0.7, 26, "round", 18),
        (0.7, 10, "ceil", 7),
        (0.7, 10, "floor", 7),
        (0.3, 10, "ceil", 3),
        (0.3, 10, "floor", 3),
        (0.29, 100, "floor", 29),
        (0.29, 100, "ceil", 29),
        (0.55, 20, "ceil", 11),
        (0.1, 4, "round", 1),
        (0.1, 4, "floor", 1),
        (0.5, 3, "round", 2),
        (1.0, 64, "floor", 64),
        (3 * 0.1, 10, "ceil", 3),
        (0.05, 26, "round", 1),
        (0.05, 26, "ceil", 2),
        (0.05, 40, "round", 2),
        (0.0, 26, "round", 1),
    ],
)
def test_leader_count(leadership: float, workers: int, rounding: str, expected: int) -> None:
    config = UnitConfig(leadership=leadership, rounding=rounding)
    assert UnitWorkers(block_of(workers), 1, config).leaders == expected


@pytest.mark.parametrize("rule", [name for name in registry().rules if name.startswith("lfnn")])
def test_any_share_from_none_to_all_may_lead(rule: str) -> None:
    """This is Definition 2.1 of the paper; searches begin at 0.1, as its tables do."""
    options = registry().load("rules", rule).Config
    for share in (0.0, 0.05, 1.0):
        assert options(leadership=share).leadership == share
    assert declared_domain(options, "leadership") == Span(0.1, 1.0, 0.1)


@RULES
@NETS
@pytest.mark.parametrize("leadership", [0.1, 0.5, 0.7, 1.0])
def test_leaders_have_the_lowest_losses_of_every_batch(
    rule_class: type[Rule], net: str, leadership: float
) -> None:
    for seed in range(8):
        rule = paper.make(rule_class, net, seed=seed, leadership=leadership)
        batch = paper.batch_for(rule, seed=seed)
        s = paper.step()
        paper.gradients(rule, batch, s)
        expected = by_batch(rule, batch)
        assert [leader_indices(s, k) for k in range(2)] == expected
        for k, workers in enumerate((4, 3)):
            assert s.logs[f"leaders/{k}"].sum() == paper.leader_count(leadership, workers)


@RULES
@NETS
def test_example_selection_counts_the_share_of_examples_led(
    rule_class: type[Rule], net: str
) -> None:
    rule = paper.make(rule_class, net, selection="example", leadership=0.5)
    batch, s = paper.batch_for(rule, 9), paper.step()
    paper.gradients(rule, batch, s)
    for k, (block, x) in enumerate(zip(rule.network.blocks, inputs_of(rule, batch.x), strict=True)):
        leaders = paper.choose(
            rule, paper.worker_scores(rule, block, block.preactivation(x)), batch.target
        )
        shares = torch.zeros(len(s.logs[f"leaders/{k}"]), dtype=torch.float64)
        for row in leaders:
            shares[row] += 1 / 9
        torch.testing.assert_close(s.logs[f"leaders/{k}"], shares)
        assert len({tuple(sorted(row)) for row in leaders}) > 1
        assert s.logs[f"leaders/{k}"].sum().item() == pytest.approx(len(leaders[0]))


@RULES
def test_equal_losses_give_exactly_n_leaders(rule_class: type[Rule]) -> None:
    rule = paper.make(rule_class, leadership=0.5)
    with torch.no_grad():
        for p in rule.parameters():
            p.zero_()
    s = paper.step()
    paper.gradients(rule, paper.batch_for(rule), s)
    assert s.logs["leaders/0"].sum() == 2
    assert s.logs["leaders/1"].sum() == 2


@RULES
def test_epoch_selection_uses_the_losses_of_the_previous_epoch(rule_class: type[Rule]) -> None:
    rule = paper.make(rule_class, selection="epoch", leadership=0.5)
    index, before = 0, None
    generator = torch.Generator().manual_seed(0)
    changed = frozen_differs = False
    for epoch in range(4):
        sums = [torch.zeros(4, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)]
        for position in range(3):
            batch = paper.batch_for(rule, 7, seed=index)
            s = paper.step(index, epoch, last=position == 2)
            paper.gradients(rule, batch, s)
            rule.after_step(s)
            of_batch = by_batch(rule, batch)
            expected = of_batch if before is None else before
            assert [leader_indices(s, k) for k in range(2)] == expected
            frozen_differs |= expected != of_batch
            for k, (block, x) in enumerate(
                zip(rule.network.blocks, inputs_of(rule, batch.x), strict=True)
            ):
                logits = paper.worker_scores(rule, block, block.preactivation(x))
                sums[k] += paper.worker_losses(logits, batch.target).mean(0).detach()
            index += 1
        ranked = [sorted(paper.lowest(total.tolist(), 2)) for total in sums]
        changed |= before is not None and ranked != before
        before = ranked
        with torch.no_grad():  # other weights, so that other workers lead
            for p in rule.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
    assert changed
    assert frozen_differs


def test_epoch_selection_survives_a_checkpoint() -> None:
    first, second = (paper.make(LfnnL, selection="epoch", leadership=0.5) for _ in range(2))
    s = paper.step(0, last=True)
    paper.gradients(first, paper.batch_for(first, seed=1), s)
    first.after_step(s)
    second.load_state_dict(first.state_dict())
    batch = paper.batch_for(first, seed=2)
    grads = [paper.gradients(rule, batch, paper.step(1, 1)) for rule in (first, second)]
    assert all(torch.equal(grads[0][name], grads[1][name]) for name in grads[0])


@RULES
@pytest.mark.parametrize(
    ("net", "shape", "options", "words"),
    [
        (Mlp(widths=(30, 25)), (1, 2, 2), {}, ("'fc2'", "25", "20 or 30")),
        (Mlp(widths=(7, 30)), (1, 2, 2), {}, ("'fc1'", "7", "10")),
        (
            Mlp(widths=(50,)),
            (1, 2, 2),
            {"units": 3, "forward": "relu"},
            ("'fc1'", "50", "30 or 60"),
        ),
        (Cnn(widths=(20, 24)), (1, 4, 4), {}, ("'conv2'", "24", "20 or 30")),
    ],
)
def test_the_error_for_a_width_names_the_block_and_widths_that_fit(
    rule_class: type[Rule],
    net: Mlp | Cnn,
    shape: tuple[int, int, int],
    options: dict[str, object],
    words: tuple[str, ...],
) -> None:
    with pytest.raises(UsageError) as caught:
        paper.make(rule_class, net, shape, classes=10, **options)
    said = f"{caught.value.message} {caught.value.hint}"
    for word in words:
        assert word in said


@pytest.mark.parametrize("forward", ["softmax", "relu_softmax"])
def test_the_error_for_several_units_per_class_names_relu(forward: str) -> None:
    with pytest.raises(UsageError) as caught:
        paper.make(LfnnL, Mlp(widths=(18,)), (1, 2, 2), units=3, forward=forward)
    assert "units=3" in caught.value.message
    assert "forward=relu" in caught.value.hint


@RULES
@NETS
@pytest.mark.parametrize("by", ["batch", "example"])
def test_leaders_are_ranked_in_float32_when_the_block_is_bfloat16(
    rule_class: type[Rule], net: str, by: str
) -> None:
    """The losses of untrained workers differ by less than the precision of bfloat16 at log 3."""
    spec = Mlp(widths=(90,)) if net == "mlp" else Cnn(widths=(90,), norm="none")
    rule = paper.make(rule_class, spec, (2, 4, 4), selection=by).float()
    batch, s = paper.batch_for(rule, 64), paper.step()
    batch.x = 0.05 * batch.x.float()
    block = rule.network.blocks[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        paper.gradients(rule, batch, s)
        z = block.preactivation(batch.x)
    assert z.dtype == torch.bfloat16
    leaders = paper.choose(rule, paper.worker_scores(rule, block, z.double()), batch.target)
    shares = torch.zeros(30)
    for row in leaders:
        shares[row] += 1 / 64
    torch.testing.assert_close(s.logs["leaders/0"], shares, atol=1e-5, rtol=0)
