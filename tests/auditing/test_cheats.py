"""Each planted cheat is found, and the honest rules that they imitate are not accused."""

from __future__ import annotations

from typing import Any

import pytest

from lbench import LocalRule
from lbench.auditing.rules import audit_rule
from tests.auditing.cheats import CHEATS, FixedFeedback, Honest


@pytest.mark.no_cover
@pytest.mark.parametrize("cheat", CHEATS)
def test_every_cheat_contradicts_a_claim(cheat: str) -> None:
    cls, claim = CHEATS[cheat]
    contradictions = audit_rule(cls).contradictions
    assert any(text.startswith(f"{claim}:") for text in contradictions), contradictions


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("network", "options"),
    [("mlp", {}), ("cnn", {}), ("resnet", {"norm": "group"}), ("mixer", {})],
)
@pytest.mark.parametrize("cls", [Honest, FixedFeedback])
def test_the_honest_are_not_accused(
    cls: type[LocalRule], network: str, options: dict[str, Any]
) -> None:
    assert audit_rule(cls, network=network, network_options=options).contradictions == []


def test_the_evidence_names_who_reaches_whom() -> None:
    cls, _ = CHEATS["a transposed copy of the head, refreshed every step"]
    evidence = audit_rule(cls).evidence["transport"]
    assert "the update of fc1 follows the transposed weights of heads.0" in evidence
    cls, _ = CHEATS["in-place writes into another block"]
    assert (
        "fc2.weight was changed before the update of block0" in audit_rule(cls).evidence["writes"]
    )
    cls, _ = CHEATS["a leak through a shared normalisation"]
    shared = audit_rule(cls).evidence["writes"]
    assert any("are one tensor" in text and "fc1.norm.weight of block0" in text for text in shared)
