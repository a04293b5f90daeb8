"""Each check fails on the rules that break its claim, and passes on others."""

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
"""Checks of a tenth of a second and more; without slow tests they run only on rules that no
cheaper check fails on."""
FULL = {"every_option_acts"}
"""Checks of the full form alone."""
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
    outcomes = [outcome(name, rule, quick=name not in FULL) for name in names]
    failed = {result.check for result in outcomes if result.status == "failed"}
    assert failed == expected, outcomes


@pytest.mark.slow
@RULES
@pytest.mark.usefixtures("forked_resuming")
def test_a_wrong_rule_fails_costly_checks_too_and_no_other(rule: type[Rule]) -> None:
    failed = {result.check for result in conform(subject(rule)) if result.status == "failed"}
    assert failed == wrong.WRONG.get(rule, set()) - FULL


def test_every_check_has_a_rule_that_fails_it() -> None:
    assert set().union(*wrong.WRONG.values()) == set(CHECK)


def test_right_rules_learn_and_resume() -> None:
    for name in COSTLY:
        assert outcome(name, wrong.ClosedForm).status == "passed"


def test_a_rule_that_does_not_learn_in_few_epochs_is_trained_for_more() -> None:
    class Late(wrong.Plain):
        """A rule that changes no parameter for five epochs of digits."""

        def gradients(self, batch: Batch, s: Step) -> Grads:
            grads = super().gradients(batch, s)
            return {name: g if s.index > 225 else 0 * g for name, g in grads.items()}

    few, many = "after 4 epochs of digits", "after 12 epochs of digits"
    assert outcome("learns", wrong.ClosedForm).detail.endswith(few)
    assert outcome("learns", wrong.ClosedForm, quick=False).detail.endswith(many)
    assert outcome("learns", Late).detail.endswith(many)
    # In the short run one of its phases has a single epoch, so its loss cannot fall.
    phased = Subject("cwc", {"schedule": "staggered"})
    assert examine(CHECK["learns"], phased).detail.endswith(many)


def test_the_claim_of_a_check_is_one_sentence() -> None:
    for check in CHECKS:
        assert check.claim.endswith(".")
        assert "\n" not in check.claim


def test_a_failure_names_the_line_of_the_rules_file() -> None:
    detail = outcome("networks_train", wrong.CrashesOnMixer).detail
    assert detail.startswith("ValueError: tokens, on mixer (tests/testing/wrong.py:")


def test_a_refusal_with_a_hint_is_reported_and_is_no_failure() -> None:
    class NoMixer(wrong.Plain):
        def build(self, init: Init) -> None:
            if any(layer.name == "token2" for layer in self.network.layers):
                raise UsageError("Tokens do not fit.", "Take another network.")

    result = outcome("networks_train", NoMixer)
    assert (result.status, result.detail) == (
        "passed", "mlp, cnn, resnet; refused: mixer (Tokens do not fit.)",
    )  # fmt: skip


def test_a_check_that_does_not_apply_is_skipped_with_the_reason() -> None:
    result = outcome("every_parameter_moves", wrong.RefusesAll)
    assert (result.status, result.detail) == ("skipped", "the rule builds on no network")
    result = outcome("cotangent_is_the_gradient_of_loss", wrong.Plain)
    assert result.detail == "the rule is no LocalRule"
    assert outcome("cotangent_is_the_gradient_of_loss", wrong.Heads).status == "skipped"


def test_the_quick_form_takes_one_network_and_the_full_form_all() -> None:
    class IdleOnCnn(wrong.Plain):
        def build(self, init: Init) -> None:
            if isinstance(self.network.layers[0].affine, nn.Conv2d):
                self.idle = nn.Parameter(init.normal("idle", (3,), 1.0))

    assert outcome("every_parameter_moves", IdleOnCnn).status == "passed"
    full = outcome("every_parameter_moves", IdleOnCnn, quick=False)
    assert full.detail == "on cnn training does not change idle"

    IdleOnCnn.expected_failures = {"every_parameter_moves": "Idle on purpose."}
    for quick in (True, False):
        result = outcome("every_parameter_moves", IdleOnCnn, quick=quick)
        assert result.status == "expected"
        assert result.detail == "Idle on purpose. (on cnn training does not change idle)"


def test_an_expected_failure_shows_both_reasons() -> None:
    class Announced(wrong.HidesNan):
        expected_failures: ClassVar[Mapping[str, Any]] = {"nan_reported": "Its data has gaps."}

    result = outcome("nan_reported", Announced)
    assert result.status == "expected"
    assert result.detail.startswith("Its data has gaps. (on mlp the losses after a NaN are ")
    assert outcome("expected_failures_explained", Announced).status == "passed"


def test_the_check_of_expected_failures_cannot_be_expected_to_fail() -> None:
    class Sly(wrong.Plain):
        expected_failures: ClassVar[Mapping[str, Any]] = {"expected_failures_explained": "Why not."}

    assert outcome("expected_failures_explained", Sly).status == "failed"


@pytest.mark.parametrize("name", ["networks_train", "every_parameter_moves", "learns"])
def test_an_unknown_option_fails_every_check_that_builds(name: str) -> None:
    result = examine(CHECK[name], Subject(wrong.LossyOption, {"scael": 1}))
    assert (result.status, "'scael'" in result.detail) == ("failed", True)


def test_a_phase_updates_the_statistics_of_its_own_blocks_alone() -> None:
    class Greedy(wrong.Heads):
        """A rule with a phase for each block and for the readout."""

        def phases(self) -> list[Phase]:
            names = [*(f"block{k}" for k in range(len(self.network.blocks))), "readout"]
            return [Phase(name, groups=frozenset({name})) for name in names]

        def loss(self, v: View, s: Step) -> torch.Tensor:
            loss = super().loss(v, s)
            s.log("loss", loss.detach())
            return loss

    for name in ("batch_norm_once_per_step", "every_parameter_moves", "small_batches"):
        assert outcome(name, Greedy).status == "passed"

    class Restless(Greedy):
        def frozen_block(self, k: int, x: torch.Tensor) -> torch.Tensor:
            block = self.network.blocks[k]
            with torch.no_grad():
                return block(x)  # in training mode

    assert outcome("batch_norm_once_per_step", Restless).detail == (
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


def test_an_option_without_effect_is_reported_with_the_networks() -> None:
    assert outcome("every_option_acts", wrong.DeadOption, quick=False).detail == (
        "strength changes nothing on mlp, cnn, resnet, mixer"
    )
    quick = outcome("every_option_acts", wrong.DeadOption)
    assert (quick.status, quick.detail) == ("skipped", "the full form tries the options")


def test_an_option_that_needs_another_one_names_it_in_its_help() -> None:
    assert outcome("every_option_acts", wrong.NeedsAnother, quick=False).detail == (
        "spread acts only with another noise, such as True, which its help does not say"
    )

    class SaysSo(wrong.NeedsAnother):
        class Config(wrong.NeedsAnother.Config):
            spread: float = param(0.1, low=0.0, high=1.0, help="Standard deviation, with noise")

    result = outcome("every_option_acts", SaysSo, quick=False)
    assert (result.status, result.detail) == ("passed", "2 options, spread with noise=True")


def test_an_option_may_act_on_one_network_and_in_the_second_epoch_alone() -> None:
    class Late(wrong.Plain):
        class Config(RuleConfig):
            late: float = param(1.0, low=0.5, high=2.0)
            maps: float = param(1.0, low=0.5, high=2.0)

        def loss(self, batch: Batch, s: Step) -> torch.Tensor:
            convolutional = self.network.blocks[0].convolutional
            factor = self.config.maps if convolutional else 1.0
            return super().loss(batch, s) * factor * (self.config.late if s.epoch else 1.0)

    assert outcome("every_option_acts", Late, quick=False).detail == "2 options"


def test_an_option_that_is_not_searched_need_not_change_results() -> None:
    class Faster(wrong.Plain):
        class Config(RuleConfig):
            parts: int = param(1, low=1, searched=False)

    assert outcome("every_option_acts", Faster, quick=False).status == "skipped"


def test_options_that_a_rule_calls_equal_are_compared() -> None:
    detail = outcome("equal_options_are_the_same_rule", wrong.CallsEqual).detail
    assert detail.startswith("on mlp factor=2.0 gives another network.blocks.0.layer.affine.weight")
    detail = outcome("equal_options_are_the_same_rule", wrong.NumbersOfOneBlock).detail
    assert detail == "on mlp there are 1 numbers of workers for 2 blocks"
