"""An error of the output is found however it reaches the blocks."""

from __future__ import annotations

import pytest

from lbench import Claims
from lbench.auditing.locality import global_error
from lbench.auditing.rules import audit_rule
from lbench.rule import Rule
from tests.auditing.audits import few
from tests.auditing.cheats import FixedFeedback, Honest
from tests.auditing.state_cheats import (
    Differences,
    HardFeedback,
    SignFeedback,
    WhetherRight,
)
from tests.auditing.subjects import subject

pytestmark = [pytest.mark.slow, pytest.mark.no_cover]

FEW = (2, 3, 2)


@pytest.mark.parametrize(
    ("cls", "kind"),
    [
        (HardFeedback, "vector"),
        (SignFeedback, "scalar"),
        (WhetherRight, "scalar"),
        (Honest, "none"),
        (FixedFeedback, "none"),
    ],
)
@pytest.mark.parametrize("seed", few(range(3), [0]))
def test_an_error_that_does_not_react_to_small_changes_is_found(
    cls: type[Rule], kind: str, seed: int
) -> None:
    own = subject(cls, seed)
    measured, reached = global_error(own, FEW, own.units)
    assert measured == kind
    assert reached == ([] if kind == "none" else ["block0", "block1", "block2"])


def test_a_scalar_from_finite_differences_is_explained() -> None:
    report = audit_rule(Differences)
    assert report.measured["transport"] == "none"
    assert report.measured["global_error"] == "scalar"
    (text,) = report.contradictions
    assert text.startswith("transport: claimed scalar, measured none (a difference of losses")


def test_the_same_rule_may_claim_what_is_measured() -> None:
    class Corrected(Differences):
        @classmethod
        def claims(cls, config, network):  # type: ignore[no-untyped-def]
            return Claims(transport="none", backward_depth=0, global_error="scalar")

    assert audit_rule(Corrected).contradictions == []
