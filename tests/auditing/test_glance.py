"""The short form sees what a run's own steps do, and does not change the rule."""

from __future__ import annotations

import pytest
import torch

from lbench import Batch, Init, Rule, RuleConfig, Task
from lbench.auditing.glance import Glance, glance
from lbench.auditing.schedule import StepPosition
from lbench.auditing.verdict import verdict
from lbench.networks.mlp import Mlp
from lbench_feedback.fa import Fa
from tests.auditing import late_cheats
from tests.auditing.cheats import CHEATS, Honest
from tests.auditing.state_cheats import ForeignMomentum, TraceOfTheNext
from tests.auditing.test_shared import OneHead, ReadoutAsHead, TwoHeads

SHAPE = (1, 4, 4)


def built(cls: type[Rule]) -> Rule:
    init = Init(0)
    network = Mlp(widths=(12, 12, 12)).build(init, SHAPE, 3)
    return cls(network, Task("toy", SHAPE, 3), RuleConfig(), init)


def batch(rows: int = 32) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(torch.rand(rows, *SHAPE, generator=generator), torch.arange(rows) % 3)


def seen(cls: type[Rule], index: int = 5) -> Glance:
    # The cut is random: among a few steps, one has it between blocks.
    glances = [
        glance(built(cls), batch(), StepPosition(index + more), None, seed=0) for more in range(4)
    ]
    return max(
        glances, key=lambda entry: (len(entry.moved), len(entry.writes), len(entry.generators))
    )


@pytest.mark.parametrize(
    "cheat",
    [
        "a forgotten detach",
        "separate optimizers without detach",
        "a hidden end-to-end loss of weight 0.001",
        "a leak from the second step on",
        "a leak at other batch sizes",
    ],
)
def test_a_leak_moves_the_units_below_the_cut(cheat: str) -> None:
    result = seen(CHEATS[cheat][0])
    assert "block0" in result.moved


@pytest.mark.parametrize(
    ("cheat", "honest", "late"),
    [
        ("a leak from the second epoch on", StepPosition(90, 0), StepPosition(100, 1)),
        (
            "a leak in the last step of an epoch",
            StepPosition(90, 1),
            StepPosition(90, 1, last=True),
        ),
        ("a leak in every fifth step", StepPosition(100), StepPosition(104)),
        ("a leak in every fiftieth step", StepPosition(104), StepPosition(100)),
        (
            "backpropagation behind the last step of an epoch",
            StepPosition(90, 3),
            StepPosition(90, 3, last=True),
        ),
    ],
)
def test_a_step_is_audited_at_its_position_in_the_run(
    cheat: str, honest: StepPosition, late: StepPosition
) -> None:
    cls = late_cheats.CHEATS[cheat][0]
    assert glance(built(cls), batch(), honest, None, seed=0).moved == ()
    assert "block0" in glance(built(cls), batch(), late, None, seed=0).moved


@pytest.mark.parametrize("cls", late_cheats.COUNTED.values())
def test_a_rules_own_count_is_that_of_the_run(cls: type[Rule]) -> None:
    period: int = cls.period  # type: ignore[attr-defined]
    for count in (0, 1, period, period + 1):
        rule = built(cls)
        rule.count.fill_(count)  # type: ignore[operator, union-attr]
        result = glance(rule, batch(), StepPosition(7), None, seed=0)
        assert bool(result.moved or result.follows) is (count % period == 0)


def test_a_copy_made_at_the_end_of_an_epoch_shows_in_the_next_step() -> None:
    late = [StepPosition(7, 0, last=last) for last in (False, True)]
    cls = late_cheats.StaleTranspose
    honest, result = (glance(built(cls), batch(), entry, None, seed=0) for entry in late)
    assert honest.changed
    assert not honest.follows
    assert result.changed in ("fc2", "fc3", "readout")
    assert "fc1" in result.follows


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_fixed_feedback_follows_no_weights(precision: torch.dtype) -> None:
    with torch.autocast("cpu", precision, enabled=precision is torch.bfloat16):
        for index in range(6):
            result = glance(
                built(Fa), batch(), StepPosition(index, 1, last=index > 3), None, seed=0
            )
            assert result.changed
            assert result.follows == ()


def test_writes_and_generators_are_seen() -> None:
    assert "fc2.weight" in seen(CHEATS["in-place writes into another block"][0]).writes[0]
    assert seen(CHEATS["the global generator"][0]).generators == ("torch",)


@pytest.mark.parametrize("cls", [TraceOfTheNext, ForeignMomentum])
def test_state_that_another_unit_writes_is_seen(cls: type[Rule]) -> None:
    (first, *_) = seen(cls).writes
    assert "in the turn of block0" in first or "in the state of its optimizer" in first


@pytest.mark.parametrize("cls", [OneHead, TwoHeads, ReadoutAsHead])
def test_a_head_of_all_blocks_is_above_none_of_them(cls: type[Rule]) -> None:
    assert seen(cls).moved == ()


def test_honest_rules_move_nothing() -> None:
    result = seen(Honest)
    assert (result.moved, result.writes, result.generators) == ((), (), ())


def test_the_rule_and_the_generators_do_not_change() -> None:
    rule = built(CHEATS["in-place writes into another block"][0])
    rule.attach({"block0": lambda grads: pytest.fail("an update of the run itself")})
    before = {name: value.clone() for name, value in rule.state_dict().items()}
    generator = torch.get_rng_state()
    glance(rule, batch(), StepPosition(0), None, seed=0)
    assert all(torch.equal(before[name], value) for name, value in rule.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert rule.training


def test_cuts_differ_from_step_to_step() -> None:
    cuts = {
        glance(built(Honest), batch(), StepPosition(index), None, seed=0).cut for index in range(8)
    }
    assert len(cuts) > 1


CLAIMS = {"bp_free": True, "update_locked": False, "global_error": "none"}


def test_a_verdict_is_the_worse_of_full_audit_and_run() -> None:
    full = {
        "audit": {"bp_free": {"measured": True}, "update_locked": {"measured": False}},
        "contradictions": [],
    }
    fine = verdict(CLAIMS, full, [Glance(0, "block1", (), (), ())])
    assert fine["contradictions"] == []
    assert fine["audit"]["bp_free"] == {"claimed": True, "measured": True}
    leak = verdict(CLAIMS, full, [Glance(3, "block1", ("block0",), (), ())])
    assert leak["audit"]["update_locked"] == {"claimed": False, "measured": True}
    assert "block0 changed with block1 (step 4 of the run)" in leak["contradictions"][0]


def test_a_step_that_follows_weights_contradicts_a_claim_of_no_transport() -> None:
    full = {
        "audit": {name: {"measured": value} for name, value in (("transport", "none"),)},
        "contradictions": [],
    }
    claims = {"bp_free": True, "transport": "none", "update_locked": True}
    leak = Glance(3, "", (), (), (), "fc2", ("fc1",))
    result = verdict(claims, full, [leak])
    text = "transport: the update of fc1 follows the weights of fc2 (step 4 of the run)"
    assert result["contradictions"] == [text]
    assert result["audit"]["transport"] == {"claimed": "none", "measured": None}
    assert result["audit"]["bp_free"]["measured"] is None


def test_dependence_contradicts_only_a_claim_of_independence() -> None:
    claims = {"bp_free": False, "update_locked": True, "global_error": "vector"}
    result = verdict(claims, None, [Glance(0, "block1", ("block0",), (), ())])
    assert result["contradictions"] == []
    assert result["audit"]["bp_free"] == {"claimed": False, "measured": None}
