"""Blocks learn independently of each other with every local loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lbench.data.digits import Digits
from lbench.networks.mlp import Mlp
from lbench.networks.spec import NetworkSpec
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.rule import LocalRule, View
from lbench.step import Step
from lbench.task import Batch
from lbench.training.optim import Update
from lbench_local_loss.lls import Lls
from lbench_local_loss.mono_forward import MonoForward
from lbench_local_loss.pred import Pred
from lbench_local_loss.pred_bio import PredBio
from lbench_local_loss.predsim import PredSim
from lbench_local_loss.predsim_bio import PredSimBio
from lbench_local_loss.sim import Sim
from lbench_local_loss.sim_bio import SimBio

from .small import NETS, batch_of, gradients, make, of_block

RULES: dict[str, tuple[type[LocalRule], dict[str, Any]]] = {
    "pred": (Pred, {}),
    "sim": (Sim, {}),
    "predsim": (PredSim, {}),
    "pred_bio": (PredBio, {}),
    "sim_bio": (SimBio, {}),
    "predsim_bio": (PredSimBio, {}),
    "mono_forward": (MonoForward, {}),
    "lls": (Lls, {}),
    "lls of gains": (Lls, {"mode": "gain"}),
    "lls of mixing": (Lls, {"mode": "mixing"}),
}
RULE = pytest.mark.parametrize(("rule", "options"), RULES.values(), ids=RULES)
NET = pytest.mark.parametrize("net", NETS.values(), ids=NETS)


@NET
@RULE
def test_scaling_a_blocks_loss_changes_no_other_block(
    rule: type[LocalRule], options: dict[str, Any], net: NetworkSpec
) -> None:
    class Scaled(rule):  # type: ignore[misc, valid-type]
        def loss(self, v: View, s: Step) -> Tensor:
            loss: Tensor = super().loss(v, s)
            return loss * (1e6 if v.k == 1 else 1.0)

    batch = batch_of()
    plain, scaled = (gradients(make(net, cls, **options), batch) for cls in (rule, Scaled))
    for name, grad in plain.items():
        own = name in of_block(plain, 1)
        assert own or torch.equal(scaled[name], grad), name
    assert any(not torch.equal(scaled[name], grad) for name, grad in of_block(plain, 1).items())


@NET
@RULE
def test_nan_in_later_blocks_reaches_no_earlier_block(
    rule: type[LocalRule], options: dict[str, Any], net: NetworkSpec
) -> None:
    made, batch = make(net, rule, **options), batch_of()
    clean, last = gradients(made, batch), len(made.network.blocks) - 1
    with torch.no_grad():
        for p in made.network.blocks[last].parameters():
            p.fill_(torch.nan)
    broken = gradients(made, batch)
    for k in range(last):
        for name, grad in of_block(clean, k).items():
            assert torch.equal(broken[name], grad), name
    assert any(grad.isnan().any() for grad in of_block(broken, last).values())


@pytest.mark.parametrize("net", ["mlp", "cnn"])
@RULE
def test_a_dead_block_gets_finite_gradients(
    rule: type[LocalRule], options: dict[str, Any], net: str
) -> None:
    slope = {"slope": 0.0} if "slope" in rule.Config.model_fields else {}
    made = make(NETS[net], rule, **options, **slope)
    with torch.no_grad():
        for block in made.network.blocks:
            shift = block.layer.affine.bias if net == "mlp" else block.layer.norm.bias
            shift.fill_(-100)
    for name, grad in gradients(made, batch_of()).items():
        assert grad.isfinite().all(), name


@pytest.mark.parametrize("net", ["mlp", "cnn"])
@RULE
def test_a_step_in_bfloat16_is_near_float32(
    rule: type[LocalRule], options: dict[str, Any], net: str
) -> None:
    made, batch = make(NETS[net], rule, **options).float(), batch_of(64)
    batch.x = batch.x.float()
    exact = gradients(made, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = gradients(made, batch)
    for name, grad in exact.items():
        assert rough[name].dtype == torch.float32
        assert (rough[name] - grad).norm() < 0.2 * grad.norm() + 2e-3, name


@RULE
def test_sixty_four_digits_are_learned_without_error(
    rule: type[LocalRule], options: dict[str, Any]
) -> None:
    split = Digits().load().train
    batch = Batch(torch.from_numpy(split.images[:64] / 255.0), torch.from_numpy(split.labels[:64]))
    made = make(Mlp(widths=(60, 60)), rule, shape=(1, 8, 8), classes=10, **options)
    recipe = Recipe(optimizer="adam", lr=5e-3)
    made.attach({group.name: Update(group, recipe) for group in made.groups() if group.params})
    for index in range(500):
        made.step(batch, Step(Randomness(0), index))
        if index % 10 == 9 and (made.predict(batch.x).argmax(1) == batch.target).all():
            return
    pytest.fail("still wrong on some after 500 steps")
