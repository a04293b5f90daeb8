"""Each planted cheat is found, and the evidence describes it."""

from __future__ import annotations

import pytest

from tests.auditing import cheats, late_cheats, state_cheats
from tests.auditing.audits import audited, few

CHEATS = {**cheats.CHEATS, **late_cheats.CHEATS, **state_cheats.CHEATS}

# Of several contradicted claims; the others are slow.
QUICK = [
    "a forgotten detach",
    "labels read in predict",
    "the global generator",
    "writes into the next block's buffer",
]


def test_every_cheat_has_a_name_of_its_own() -> None:
    parts = (cheats.CHEATS, late_cheats.CHEATS, state_cheats.CHEATS)
    assert len(CHEATS) == sum(len(part) for part in parts)


@pytest.mark.no_cover
@pytest.mark.parametrize("cheat", few(CHEATS, QUICK))
def test_every_cheat_contradicts_a_claim(cheat: str) -> None:
    cls, claim = CHEATS[cheat]
    contradictions = audited(cls).contradictions
    assert any(text.startswith(f"{claim}:") for text in contradictions), contradictions


def test_the_evidence_names_the_layers_of_a_transport() -> None:
    cls, _ = CHEATS["a transposed copy of the head, refreshed every step"]
    evidence = audited(cls).evidence["transport"]
    assert "the update of fc1 follows the transposed weights of heads.0" in evidence
    cls, _ = CHEATS["in-place writes into another block"]
    assert "fc2.weight was changed before the update of block0" in audited(cls).evidence["writes"]
    cls, _ = CHEATS["a leak through a shared normalisation"]
    shared = audited(cls).evidence["writes"]
    assert any("are one tensor" in text and "fc1.norm.weight of block0" in text for text in shared)


@pytest.mark.no_cover
@pytest.mark.parametrize("cheat", few(state_cheats.HIDDEN, ["a network trained in buffers"]))
def test_beside_a_hidden_network_nothing_is_called_absent(cheat: str) -> None:
    report = audited(state_cheats.HIDDEN[cheat])
    for word in ("bp_free", "transport", "backward_depth", "update_locked", "global_error"):
        assert report.measured[word] is None
    assert report.verdict == "not measurable"
    assert report.unmeasurable()
    assert "trained where no update is seen" in report.reasons()[0]
