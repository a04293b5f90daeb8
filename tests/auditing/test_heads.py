"""The kind of transport from a head is measured, and honest rules are not contradicted."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from lbench import LocalRule
from tests.auditing.audits import SLOW, audited, few
from tests.auditing.cheats import FixedFeedback, Honest


class SignFeedback(FixedFeedback):
    """The head's error is sent back through the signs of its weights."""

    def carried(self, k: int) -> Tensor:
        head = self.heads[k]
        assert isinstance(head, nn.Linear)
        return 0.1 * head.weight.detach().sign()


class OneNumber(FixedFeedback):
    """One number per example is all that reaches a block through its head's transpose."""

    def loss(self, v, s):  # type: ignore[no-untyped-def]
        head = self.heads[v.k]
        h = v.h if v.h.dim() == 2 else v.h.mean((2, 3))
        own = self.task.loss(head(h.detach()), v.target)
        direction = s.noise(f"direction{v.k}", (len(h), h.shape[1])).to(h.dtype)
        slope = ((self.error(v) @ head.weight.detach()) * direction).sum(1, keepdim=True)
        return own + (h * slope * direction).sum()


@pytest.mark.parametrize(
    ("cls", "kind"),
    [(Honest, "full"), (SignFeedback, "sign"), (OneNumber, "scalar"), (FixedFeedback, "none")],
)
@pytest.mark.parametrize("network", ["mlp", pytest.param("cnn", marks=SLOW)])
def test_the_kind_of_transport_from_a_head_is_measured(
    cls: type[Honest], kind: str, network: str
) -> None:
    report = audited(cls, network)
    kinds = report.transport.kinds
    for k in range(3):
        assert kinds[f"network.blocks.{k}.layer.affine", f"heads.{k}"] == kind
    others = [value for pair, value in kinds.items() if pair[1] != f"heads.{pair[0][15:16]}"]
    assert set(others) == {"none"}
    assert report.measured["bp_free"] == (kind in ("none", "scalar"))


@pytest.mark.no_cover
@pytest.mark.parametrize("cls", [Honest, FixedFeedback])
@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("mlp", {}),
        pytest.param("cnn", {}, marks=SLOW),
        pytest.param("resnet", {"norm": "group"}, marks=SLOW),
        pytest.param("mixer", {}, marks=SLOW),
    ],
)
def test_honest_rules_are_not_contradicted(
    cls: type[LocalRule], network: str, options: dict[str, str]
) -> None:
    assert audited(cls, network, **options).contradictions == []


@pytest.mark.parametrize("rule", few(["bp", "fa", "fg_a", "lg_fg_a", "lg_fg_w"], ["fa"]))
def test_maps_over_positions_are_measured_too(rule: str) -> None:
    report = audited(rule, "mixer")
    assert report.transport.unmeasurable == []
    assert report.contradictions == []
