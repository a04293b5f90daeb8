"""cwc: each block increases the goodness of the label's channels, independently of other blocks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from lbench.errors import UsageError
from lbench.networks.cnn import Cnn
from lbench.networks.mixer import LocalMixer
from lbench.networks.mlp import Mlp
from lbench.networks.resnet import Resnet
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.step import Step
from lbench.training.job import parameters
from lbench.training.optim import Update
from lbench_contrast.cwc import Cwc, members
from tests.plugins import small
from tests.plugins.small import CLASSES

Array = NDArray[np.float64]
NETS: dict[str, small.NetworkSpec] = {
    "mlp": Mlp(widths=(11, 8, 5)),
    "cnn": Cnn(widths=(7, 6, 5)),
    "resnet": Resnet(depth=8, width=6),
    "mixer": LocalMixer(patches=2, channels=12, groups=3, depth=2),
}
NET = pytest.mark.parametrize("net", NETS.values(), ids=NETS)


def make(net: small.NetworkSpec = NETS["mlp"], **options: Any) -> Cwc:
    rule: Cwc = small.make(Cwc, net, **options)
    return rule


def channels(width: int, classes: int) -> list[list[int]]:
    """Return the channels of each class: channel c is of class floor(c classes / width)."""
    return [[c for c in range(width) if c * classes // width == k] for k in range(classes)]


@pytest.mark.parametrize(("width", "classes"), [(260, 10), (16, 10), (11, 5), (64, 10), (5, 5)])
def test_channels_are_split_as_evenly_as_can_be(width: int, classes: int) -> None:
    member = members(width, classes) > 0
    assert (member.sum(1) == 1).all()
    sizes = member.sum(0)
    assert sizes.min() >= 1
    assert sizes.max() - sizes.min() <= 1
    classes_of_channels = member.int().argmax(1)
    assert torch.equal(classes_of_channels, classes_of_channels.sort().values)


def test_a_step_equals_numpy_by_hand() -> None:
    rule, batch = make(), small.batch_of()
    v = {name: p.detach().numpy() for name, p in rule.named_parameters()}
    actual = small.gradients(rule, batch)
    x, onehot = batch.x.flatten(1).numpy(), np.eye(CLASSES)[batch.target.numpy()]
    for k in range(3):
        name = f"network.blocks.{k}.layer.affine"
        h = np.maximum(x @ v[f"{name}.weight"].T + v[f"{name}.bias"], 0)
        own = channels(h.shape[1], CLASSES)
        goodness = np.stack([(h[:, group] ** 2).mean(1) for group in own], 1)
        p = np.exp(goodness)
        p /= p.sum(1, keepdims=True)
        goodness_grad = (p - onehot) / len(x)
        dz = np.empty_like(h)
        for c, group in enumerate(own):
            dz[:, group] = goodness_grad[:, [c]] * 2 * h[:, group] / len(group)
        np.testing.assert_allclose(actual[f"{name}.weight"].numpy(), dz.T @ x, atol=1e-13)
        np.testing.assert_allclose(actual[f"{name}.bias"].numpy(), dz.sum(0), atol=1e-13)
        assert np.abs(dz.sum(0)).max() > 1e-4
        x = h
    logits = x @ v["network.readout.linear.weight"].T + v["network.readout.linear.bias"]
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    bias = actual["network.readout.linear.bias"].numpy()
    np.testing.assert_allclose(bias, (p - onehot).mean(0), atol=1e-13)


def test_goodness_of_channels_is_a_mean_over_positions_too() -> None:
    rule = make(NETS["cnn"])
    h = torch.randn(3, 7, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own = channels(7, CLASSES)
    expected = torch.stack([h[:, group].square().mean((1, 2, 3)) for group in own], 1)
    torch.testing.assert_close(rule.goodness(0, h), expected)


@NET
def test_later_blocks_do_not_change_gradients_of_earlier_ones(net: small.NetworkSpec) -> None:
    rule, batch = make(net), small.batch_of()
    clean = small.gradients(rule, batch)
    last = len(rule.network.blocks) - 1
    with torch.no_grad():
        for p in [*rule.network.blocks[-1].parameters(), *rule.network.readout.parameters()]:
            p.fill_(math.nan)
    broken = small.gradients(rule, batch)
    assert set(broken) == set(clean)
    for name, grad in clean.items():
        above = name.startswith((f"network.blocks.{last}.", "network.readout."))
        assert torch.equal(broken[name], grad) != above, name


@NET
@pytest.mark.parametrize("predict", ["readout", "goodness"])
def test_every_parameter_learns(net: small.NetworkSpec, predict: str) -> None:
    rule = make(net, predict=predict)
    assert small.gradients(rule, small.batch_of()).keys() == dict(rule.named_parameters()).keys()


@NET
def test_goodness_predicts_without_a_readout(net: small.NetworkSpec) -> None:
    rule, x = make(net, predict="goodness").eval(), small.batch_of().x
    assert isinstance(rule.network.readout, nn.Identity)
    total = sum(p.numel() for p in rule.network.blocks.parameters())
    assert parameters(rule.float(), small.SHAPE) == {"inf": total, "aux": 0, "fix": 0}
    rule.double()
    h = x
    for block in rule.network.blocks[:-1]:
        h = block(h)
    h = rule.network.blocks[-1].preactivation(h).relu().view(6, rule.network.blocks[-1].width, -1)
    own = channels(h.shape[1], CLASSES)
    expected = torch.stack([h[:, group].square().mean((1, 2)) for group in own], 1)
    torch.testing.assert_close(rule.predict(x), expected)
    with_readout = make(net).eval()
    torch.testing.assert_close(with_readout.predict(x), with_readout.network(x))


def test_a_width_below_the_number_of_classes_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'fc2' has 4 for 5 classes") as refused:
        make(Mlp(widths=(8, 4)))
    assert "5 or more" in (refused.value.hint or "")


def test_staggered_blocks_stop_from_the_bottom_up() -> None:
    rule = make(schedule="staggered")
    names = ["block0", "block1", "block2", "readout"]
    phases = rule.phases()
    assert [phase.groups for phase in phases] == [frozenset(names[k:]) for k in range(4)]
    rule.attach({group.name: Update(group, Recipe()) for group in rule.groups()})
    for k, phase in enumerate(phases):
        before = {name: p.clone() for name, p in rule.named_parameters()}
        rule.step(small.batch_of(), Step(Randomness(0), k, phase=phase))
        moved = {name for name, p in rule.named_parameters() if not torch.equal(p, before[name])}
        still = tuple(f"network.blocks.{j}." for j in range(k))
        assert moved == {name for name in before if not name.startswith(still or "-")}
    assert len(make(schedule="staggered", predict="goodness").phases()) == 3


@pytest.mark.parametrize("net", [Mlp(widths=(14, 8)), Cnn(widths=(6, 8), norm="group")], ids=repr)
def test_a_step_in_bfloat16_is_near_float32(net: small.NetworkSpec) -> None:
    rule, batch = make(net).float(), small.batch_of(64)
    batch.x = batch.x.float()
    exact = small.gradients(rule, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = small.gradients(rule, batch)
    for name, grad in exact.items():
        assert rough[name].dtype == torch.float32
        assert (rough[name] - grad).norm() < 0.1 * grad.norm() + 1e-3


@pytest.mark.parametrize("predict", ["readout", "goodness"])
def test_sixty_four_examples_are_learned_without_error(predict: str) -> None:
    rule, batch = make(Mlp(widths=(60, 60)), predict=predict), small.batch_of(64)
    rule.attach(
        {group.name: Update(group, Recipe(lr=0.01)) for group in rule.groups() if group.params}
    )
    for index in range(600):
        rule.step(batch, Step(Randomness(0), index))
        if index % 20 == 19 and (rule.predict(batch.x).argmax(1) == batch.target).all():
            return
    pytest.fail("some examples are misclassified after 600 steps")


@pytest.mark.parametrize("predict", ["readout", "goodness"])
def test_prediction_depends_on_the_weights_alone(predict: str) -> None:
    rule, other = (make(NETS["cnn"], predict=predict) for _ in range(2))
    rule.attach({g.name: Update(g, Recipe()) for g in rule.groups() if g.params})
    batch = small.batch_of()
    start = rule.eval().predict(batch.x)
    rule.train().step(batch, Step(Randomness(0)))
    other.load_state_dict(rule.state_dict())
    actual = rule.eval().predict(batch.x)
    assert not torch.equal(actual, start)
    assert torch.equal(other.eval().predict(batch.x), actual)
