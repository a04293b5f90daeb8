"""Each check catches the rules that break its claim, and passes those that keep it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from lbench.config import RuleConfig, param
from lbench.errors import UsageError
from lbench.init import Init
from lbench.rule import Grads, Rule, View
from lbench.step import Phase, Step
from lbench.task import Batch
from lbench.testing import CHECKS, Outcome, Subject, conform, examine

from . import wrong

COSTLY = {"claims_equal_measurements", "learns", "resumes_in_a_new_process"}
"""Tenths of a second and more: unless slow, only on rules that no cheaper check should catch."""
RULES = pytest.mark.parametrize("rule", [*wrong.RIGHT, *wrong.WRONG], ids=lambda cls: cls.__name__)
CHECK = {check.name: check for check in CHECKS}


def subject(rule: type[Rule], **changes: Any) -> Subject:
    return Subject(rule, wrong.OPTIONS.get(rule), **changes)


def outcome(name: str, rule: type[Rule], **changes: Any) -> Outcome:
    return examine(CHECK[name], subject(rule, **changes))


@RULES
@pytest.mark.usefixtures("forked_resuming")
def test_a_wrong_rule_fails_its_checks_and_no_other(rule: type[Rule]) -> None:
    expected = wrong.WRONG.get(rule, set())
    if not expected <= COSTLY:
        expected = expected - COSTLY
    names = [name for name in CHECK if name not in COSTLY or name in expected]
    found = [outcome(name, rule) for name in names]
    assert {each.check for each in found if each.status == "failed"} == expected, found


@pytest.mark.slow
@RULES
@pytest.mark.usefixtures("forked_resuming")
def test_the_costly_checks_too_fail_where_they_should(rule: type[Rule]) -> None:
    failed = {each.check for each in conform(subject(rule)) if each.status == "failed"}
    assert failed == wrong.WRONG.get(rule, set())


def test_every_check_has_a_rule_that_fails_it() -> None:
    assert set().union(*wrong.WRONG.values()) == set(CHECK)


def test_right_rules_learn_and_resume() -> None:
    for name in COSTLY:
        assert outcome(name, wrong.ClosedForm).status == "passed"


def test_a_rule_that_does_not_learn_in_few_epochs_has_many() -> None:
    class Late(wrong.Plain):
        """Stays as it is for five epochs of digits."""

        def gradients(self, batch: Batch, s: Step) -> Grads:
            grads = super().gradients(batch, s)
            return {name: g if s.index > 225 else 0 * g for name, g in grads.items()}

    few, many = "after 4 epochs of digits", "after 12 epochs of digits"
    assert outcome("learns", wrong.ClosedForm).detail.endswith(few)
    assert outcome("learns", wrong.ClosedForm, quick=False).detail.endswith(many)
    assert outcome("learns", Late).detail.endswith(many)
    # Of so few epochs one of its phases has one, which shows no loss that falls.
    phased = Subject("cwc", {"schedule": "staggered"})
    assert examine(CHECK["learns"], phased).detail.endswith(many)


def test_a_check_says_its_claim_in_a_sentence() -> None:
    for check in CHECKS:
        assert check.claim.endswith(".")
        assert "\n" not in check.claim


def test_a_failure_says_where_in_the_rules_file_it_arose() -> None:
    found = outcome("networks_train", wrong.CrashesOnMixer)
    assert found.detail.startswith("ValueError: tokens, on mixer (tests/testing/wrong.py:")


def test_a_refusal_with_a_hint_is_told_and_does_not_fail() -> None:
    class NoMixer(wrong.Plain):
        def build(self, init: Init) -> None:
            if any(layer.name == "token2" for layer in self.network.layers):
                raise UsageError("Tokens do not fit.", "Take another network.")

    found = outcome("networks_train", NoMixer)
    assert (found.status, found.detail) == (
        "passed", "mlp, cnn, resnet; refused: mixer (Tokens do not fit.)",
    )  # fmt: skip


def test_what_no_network_can_show_is_skipped_with_the_reason() -> None:
    found = outcome("every_parameter_moves", wrong.RefusesAll)
    assert (found.status, found.detail) == ("skipped", "it builds on no network")
    assert outcome("cotangent_is_the_gradient_of_loss", wrong.Plain).detail == "is no LocalRule"
    assert outcome("cotangent_is_the_gradient_of_loss", wrong.Heads).status == "skipped"


def test_the_quick_form_looks_at_one_network_and_the_full_form_at_all() -> None:
    class IdleOnCnn(wrong.Plain):
        def build(self, init: Init) -> None:
            if isinstance(self.network.layers[0].affine, nn.Conv2d):
                self.idle = nn.Parameter(init.normal("idle", (3,), 1.0))

    assert outcome("every_parameter_moves", IdleOnCnn).status == "passed"
    full = outcome("every_parameter_moves", IdleOnCnn, quick=False)
    assert full.detail == "on cnn nothing moves idle"

    IdleOnCnn.expected_failures = {"every_parameter_moves": "Idle on purpose."}
    for quick in (True, False):
        found = outcome("every_parameter_moves", IdleOnCnn, quick=quick)
        assert found.status == "expected"
        assert found.detail == "Idle on purpose. (on cnn nothing moves idle)"


def test_an_expected_failure_shows_both_reasons() -> None:
    class Announced(wrong.HidesNan):
        expected_failures: ClassVar[Mapping[str, Any]] = {"nan_reported": "Its data has gaps."}

    found = outcome("nan_reported", Announced)
    assert found.status == "expected"
    assert found.detail.startswith("Its data has gaps. (on mlp the losses after a NaN are ")
    assert outcome("expected_failures_explained", Announced).status == "passed"


def test_the_check_of_expected_failures_cannot_be_expected_to_fail() -> None:
    class Sly(wrong.Plain):
        expected_failures: ClassVar[Mapping[str, Any]] = {"expected_failures_explained": "Why not."}

    assert outcome("expected_failures_explained", Sly).status == "failed"


@pytest.mark.parametrize("name", ["networks_train", "every_parameter_moves", "learns"])
def test_an_unknown_option_fails_every_check_that_builds(name: str) -> None:
    found = examine(CHECK[name], Subject(wrong.LossyOption, {"scael": 1}))
    assert (found.status, "'scael'" in found.detail) == ("failed", True)


def test_phases_train_their_own_blocks_statistics() -> None:
    class Greedy(wrong.Heads):
        """Block by block, then the readout."""

        def phases(self) -> list[Phase]:
            names = [*(f"block{k}" for k in range(len(self.network.blocks))), "readout"]
            return [Phase(name, groups=frozenset({name})) for name in names]

        def loss(self, v: View, s: Step) -> torch.Tensor:
            loss = super().loss(v, s)
            s.log("loss", loss.detach())
            return loss

    for name in ("batch_norm_once_a_step", "every_parameter_moves", "small_batches"):
        assert outcome(name, Greedy).status == "passed"

    class Restless(Greedy):
        def frozen_block(self, k: int, x: torch.Tensor) -> torch.Tensor:
            block = self.network.blocks[k]
            with torch.no_grad():
                return block(x)  # in training mode

    found = outcome("batch_norm_once_a_step", Restless)
    assert found.detail == (
        "on cnn with BatchNorm a step of phase block1 updates the statistics of block 0 1 times, "
        "not 0"
    )


def test_the_kit_itself_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    for name in CHECK:
        if name not in COSTLY:
            outcome(name, wrong.Plain)
    outcome("global_randomness_unused", wrong.GlobalDraw)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())


def test_each_choice_of_each_option_makes_the_round_trip() -> None:
    class Many(wrong.Plain):
        class Config(RuleConfig):
            share: float = param(0.7, low=0.1, high=1.0)
            fast: bool = param(False)

    assert outcome("options_round_trip", Many).detail == "5 sets of options"
