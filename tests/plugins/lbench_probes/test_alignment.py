"""The probe alignment compares updates with the true gradient, and its estimates are unbiased."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.networks.resnet import Resnet
from lbench.networks.spec import NetworkSpec
from lbench.rule import GradientRule, Grads, Rule, differentiate
from lbench.step import Step
from lbench.task import Batch
from lbench_bp.bp import Bp
from lbench_feedback.fa import Fa
from lbench_forward_gradient.fg_w import FgW
from lbench_greedy.frozen import Frozen
from lbench_greedy.softmax_regression import SoftmaxRegression
from lbench_probes.probes import alignment
from lbench_probes.probes.alignment import Alignment
from lbench_probes.probes.gradient import NoGradientError, output_gradient
from tests.probes.scene import batch, made, recorded, scene, step_of

NETS: list[NetworkSpec] = [
    Mlp(widths=(9, 8)),
    Mlp(widths=(9, 8), norm="batch"),
    Cnn(widths=(4, 6)),
    Resnet(depth=8, width=3),
]


def rows_of(rule: Rule, kind: type[Alignment] = Alignment, index: int = 0) -> dict[str, Any]:
    probe = kind("alignment", scene(rule))
    rows = recorded(probe, lambda: probe.before_step(batch(), step_of(index)))
    return {row["layer"]: row for row in rows}


@pytest.mark.parametrize("net", NETS, ids=str)
def test_bp_has_cosine_1_bias_0_and_variance_0_at_every_layer(net: NetworkSpec) -> None:
    rule = made(Bp, net)
    rows = rows_of(rule)
    assert list(rows) == [*(layer.name for layer in rule.network.layers), "readout", "all"]
    for row in rows.values():
        assert row["cosine"] == pytest.approx(1, abs=1e-6)
        assert row["mean_cosine"] == row["cosine"]
        assert (row["variance"], row["repeats"]) == (0, 1)
        assert 0 <= row["bias"] < 1e-8
        assert row["update_norm"] == pytest.approx(row["gradient_norm"], rel=1e-4)
    blocks = {layer.name: k for k, b in enumerate(rule.network.blocks) for layer in b.layers}
    assert {name: row["block"] for name, row in rows.items()} == {
        **blocks, "readout": None, "all": None
    }  # fmt: skip


def test_dropout_makes_bp_stochastic() -> None:
    row = rows_of(made(Bp, NETS[0], dropout=0.5))["fc2"]
    assert (row["repeats"], row["variance"] > 0.1) == (8, True)
    assert row["cosine"] < row["mean_cosine"] < 1


@pytest.mark.parametrize("net", NETS, ids=str)
def test_the_true_gradient_is_that_of_bp_for_any_backward_pass(net: NetworkSpec) -> None:
    rule = made(Fa, net)
    plain = made(Bp, net)
    plain.load_state_dict(rule.state_dict(), strict=False)
    names = [name for group in plain.groups() for name in group.params]
    for name, expected in output_gradient(plain, batch(), names).items():
        gradient = output_gradient(rule, batch(), names)[name]
        assert torch.allclose(gradient, expected, atol=1e-12), name
    rows = rows_of(rule)
    below = rule.network.layers[0].name
    assert rows[below]["cosine"] < 0.9
    assert rows["readout"]["cosine"] == pytest.approx(1, abs=1e-6)


def test_a_wrong_backward_pass_outside_of_maps_is_not_accepted_as_the_gradient() -> None:
    class Turned(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, h: Tensor) -> Tensor:
            return h.clone()

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return -g

    class Odd(Bp):
        def activate(self, k: int, z: Tensor) -> Tensor:
            return Turned.apply(super().activate(k, z))  # type: ignore[no-untyped-call,no-any-return]

    rule = made(Odd, NETS[0])
    with pytest.raises(NoGradientError, match="a finite difference"):
        output_gradient(rule, batch(), [name for g in rule.groups() for name in g.params])


class Many(Alignment):
    repeats: ClassVar[int] = 2500


@pytest.mark.slow
def test_fg_w_is_unbiased_with_the_variance_of_its_law() -> None:
    """Compare with Var g = (P + 1)|g|² for v ~ N(0, 1) over P weights (E|D v|² = (P + 2)|g|²)."""
    rule = made(FgW, Mlp(widths=(2,)), perturb_readout=True)
    count = sum(p.numel() for group in rule.groups() for p in group.params.values())
    row = rows_of(rule, Many)["all"]
    assert row["repeats"] == 2500
    assert row["variance"] == pytest.approx(count + 1, rel=0.1)
    # V/M is subtracted; the rest is noise of about sqrt(2 P)·V/(P·M).
    assert abs(row["bias"]) < 4 * (2 / count) ** 0.5 * (count + 1) / 2500
    assert row["mean_cosine"] > 0.98
    assert 0 < row["cosine"] < 0.2


def test_few_repeats_estimate_the_same_bias_and_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Average many measurements of 8 repeats each; without V/M the bias would be P/8."""
    rule = made(FgW, Mlp(widths=(2,)), perturb_readout=True)
    count = sum(p.numel() for group in rule.groups() for p in group.params.values())
    rows = [rows_of(rule, index=index)["all"] for index in range(120)]
    bias = torch.tensor([row["bias"] for row in rows])
    variance = torch.tensor([row["variance"] for row in rows])
    assert variance.mean().item() == pytest.approx(count + 1, rel=0.15)
    assert abs(bias.mean().item()) < 4 * bias.std().item() / 120**0.5 < 0.05 * count


def test_a_biased_rule_has_its_bias() -> None:
    class Half(GradientRule):
        def gradients(self, batch: Batch, s: Step) -> Grads:
            loss = self.task.loss(self.network(batch.x, s), batch.target)
            s.log("loss", loss.detach())
            grads = differentiate(loss, self._trained)
            noise = s.noise("half", (), "sign")
            return {name: g * (0.5 + noise) for name, g in grads.items()}

    class More(Alignment):
        repeats: ClassVar[int] = 400

    row = rows_of(made(Half, NETS[0]), More)["all"]
    # E u = g/2: bias 1/4; u = g/2 ± g: variance 1.
    assert row["bias"] == pytest.approx(0.25, abs=0.15)
    assert row["variance"] == pytest.approx(1, abs=0.02)


def test_layers_without_an_update_or_an_effect_on_predictions_have_no_row() -> None:
    assert set(rows_of(made(Frozen, NETS[0]))) == {"readout", "all"}
    assert set(rows_of(made(SoftmaxRegression, NETS[0]))) == {"all"}


def test_a_run_is_measured_about_50_times_on_one_batch() -> None:
    probe = Alignment("alignment", scene(made(Bp, NETS[0]), steps=1234))
    assert 50 <= sum(probe.due(index) for index in range(1234)) <= 55
    again = Alignment("alignment", scene(made(Bp, NETS[0]), steps=1234))
    assert torch.equal(probe.batch.x, again.batch.x)
    assert len(probe.batch.target) == alignment.BATCH
