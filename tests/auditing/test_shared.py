"""A head that several blocks use is above none of them; layers may be tied inside a block."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lbench
from lbench import Claims, Init, Network, RuleConfig, Step, View, differentiate, spatial_mean
from lbench.auditing.locality import Locality
from lbench.auditing.rules import audit_rule
from lbench.rule import GradientRule, Group, LocalRule, Rule, trained
from lbench.task import Batch
from tests.auditing.audits import few
from tests.auditing.cheats import Honest

pytestmark = [pytest.mark.slow, pytest.mark.no_cover]


class OneHead(LocalRule):
    """All blocks learn through one linear head, which learns from all of them."""

    claims = Honest.claims

    def build(self, init: Init) -> None:
        self.head = init.linear("head", self.network.blocks[0].width, self.task.classes)

    def groups(self) -> list[Group]:
        return [*super().groups(), Group("head", trained(self.head, "head."))]

    def scored(self, h: Tensor) -> Tensor:
        logits: Tensor = self.head(spatial_mean(h))
        return logits

    def step(self, batch: Batch, s: Step) -> None:
        self.losses: list[Tensor] = []
        super().step(batch, s)
        total = torch.stack(self.losses).sum()
        del self.losses
        self.update("head", differentiate(total, self._groups["head"]))

    def loss(self, v: View, s: Step) -> Tensor:
        self.losses.append(self.task.loss(self.scored(v.h.detach()), v.target))
        return self.task.loss(self.scored(v.h), v.target)


class TwoHeads(OneHead):
    """All blocks learn through the mean of two shared heads."""

    def build(self, init: Init) -> None:
        super().build(init)
        self.other = init.linear("other", self.network.blocks[0].width, self.task.classes)

    def groups(self) -> list[Group]:
        *blocks, head = super().groups()
        return [*blocks, Group("head", {**head.params, **trained(self.other, "other.")})]

    def scored(self, h: Tensor) -> Tensor:
        h = spatial_mean(h)
        return (self.head(h) + self.other(h)) / 2


class ReadoutAsHead(LocalRule):
    """Every block's loss passes through the readout of the network itself."""

    claims = Honest.claims

    def loss(self, v: View, s: Step) -> Tensor:
        return self.task.loss(self.network.readout(v.h), v.target)


@pytest.mark.parametrize(
    ("cls", "shared"),
    [(OneHead, {"head"}), (TwoHeads, {"head", "other"}), (ReadoutAsHead, {"readout"})],
)
@pytest.mark.parametrize("network", few(["mlp", "cnn"], ["mlp"]))
def test_a_head_of_all_blocks_is_above_none_of_them(
    cls: type[Rule], shared: set[str], network: str
) -> None:
    options = {"norm": "group"} if network == "cnn" else {}
    report = audit_rule(cls, network=network, network_options=options)
    assert report.local.shared == shared
    assert report.contradictions == []
    assert report.measured["update_locked"] is False
    assert report.measured["global_error"] == "none"


class Bank(GradientRule):
    """Backpropagation from a second head on the last block: it is above all blocks."""

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(
            transport="full", backward_depth="full", update_locked=True, global_error="vector"
        )

    def build(self, init: Init) -> None:
        self.head = init.linear("head", self.network.blocks[-1].width, self.task.classes)

    def loss(self, batch: Batch, s: Step) -> Tensor:
        x = batch.x
        for block in self.network.blocks:
            x = block(x, s)
        logits = self.network.readout(x) + self.head(spatial_mean(x))
        return self.task.loss(logits, batch.target)


@pytest.mark.parametrize("rule", few(["bp", "dfa", "lfnn_v2", Bank], ["dfa", Bank]))
@pytest.mark.parametrize("blocks", few([2, 3], [2]))
def test_a_unit_that_all_blocks_wait_for_is_above_them(rule: str | type[Rule], blocks: int) -> None:
    report = audit_rule(rule, blocks=blocks)
    assert report.local.shared == set()
    assert report.contradictions == []


def test_units_are_shared_that_several_use_and_that_wait_for_no_other() -> None:
    pairs = {("a", "b"): False, ("a", "head"): True, ("b", "head"): True}
    assert Locality(locked=pairs).shared == {"head"}
    assert Locality(locked=pairs).waits == []
    chained = {**pairs, ("a", "b"): True}
    assert Locality(locked=chained).shared == set()
    assert Locality(locked=chained).waits == [("a", "b"), ("a", "head"), ("b", "head")]
    assert (
        Locality(locked={("a", "head"): True}).shared == set()
    )  # one user: it may be the last unit
    two = {**pairs, ("a", "other"): True, ("b", "other"): True}
    assert Locality(locked=two).shared == {"head", "other"}


class Towers(nn.Module):
    """Two blocks, and a head that classifies both of them."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(20, 24), nn.Linear(24, 24)
        self.head = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.two(self.one(x).relu()).relu())
        return logits


def _local(model: Towers, x: Tensor, y: Tensor) -> Tensor:
    h = model.one(x).relu()
    top = model.two(h.detach()).relu()
    return F.cross_entropy(model.head(h), y) + F.cross_entropy(model.head(top), y)


def _end_to_end(model: Towers, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x), y)


@pytest.mark.parametrize(("loss", "locked"), [(_local, False), (_end_to_end, True)])
def test_a_shared_head_of_a_plain_step_is_above_none_of_its_blocks(
    loss: Callable[[Towers, Tensor, Tensor], Tensor], locked: bool
) -> None:
    torch.manual_seed(0)
    model = Towers()
    optimizer = torch.optim.Adam(model.parameters())

    def step(model: Towers, batch: tuple[Tensor, Tensor]) -> None:
        optimizer.zero_grad()
        loss(model, *batch).backward()
        optimizer.step()

    report = lbench.audit(step, model, (torch.randn(14, 20), torch.arange(14) % 3))  # type: ignore[arg-type]
    assert report.measured["update_locked"] is locked
    assert report.measured["global_error"] == ("vector" if locked else "none")


class TiedInside(Honest):
    """The last two layers have the same weights."""

    def build(self, init: Init) -> None:
        super().build(init)
        *_, last = self.network.blocks
        first, second = last.layers[-2:]
        second.affine.weight = first.affine.weight


def test_layers_tied_inside_a_block_are_its_own() -> None:
    report = audit_rule(TiedInside, blocks=1)
    assert report.measured["writes"] == "own"
    assert report.evidence["writes"] == []
