"""softhebb: competition without labels, in which the norms of neurons converge to 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lbench.errors import UsageError
from lbench.init import Init
from lbench.networks.cnn import Cnn
from lbench.networks.lfnn_v1 import LfnnV1
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.training.job import parameters
from lbench.training.optim import Update
from lbench_hebbian.softhebb import READOUT, SoftHebb
from tests.auditing.networks import UNUSUAL
from tests.plugins import small
from tests.plugins.small import CLASSES, NETS

Array = NDArray[np.float64]
NET = pytest.mark.parametrize("net", NETS.values(), ids=NETS)
WEIGHT = "network.blocks.{}.layer.affine.weight"


def make(net: small.NetworkSpec = NETS["mlp"], **options: Any) -> SoftHebb:
    rule: SoftHebb = small.make(SoftHebb, net, **options)
    return rule


def rms(x: Array) -> Array:
    normalised: Array = x / np.sqrt((x**2).mean(axis=tuple(range(1, x.ndim)), keepdims=True))
    return normalised


def change(w: Array, rows: list[Array], tau: float) -> Array:
    """Return dw / eta of neurons w (neurons, inputs), from a loop over input vectors."""
    dw = np.zeros_like(w)
    for x in rows:
        u = w @ x
        y = np.exp(tau * (u - u.max()))
        y /= y.sum()
        for k in range(len(w)):
            dw[k] += (1 if k == u.argmax() else -1) * y[k] * (x - u[k] * w[k])
    dw /= np.abs(dw).max()
    rate = np.sqrt(np.abs(np.linalg.norm(w, axis=1) - 1))
    w_change: Array = dw * rate[:, None]
    return w_change


@pytest.mark.parametrize("options", [{}, {"tau": 0.05}, {"tau": 0.02, "power": 0.7}], ids=repr)
def test_updates_equal_numpy_by_hand(options: dict[str, Any]) -> None:
    rule, batch = make(**options), small.batch_of()
    actual = small.gradients(rule, batch)
    x = batch.x.flatten(1).numpy()
    for k in range(3):
        w = rule.get_parameter(WEIGHT.format(k)).detach().numpy()
        x = rms(x)
        expected = change(w, list(x), options.get("tau", 1.0))
        np.testing.assert_allclose(-actual[WEIGHT.format(k)].numpy(), expected, atol=1e-9)
        z = x @ w.T
        x = np.maximum(z - z.mean(1, keepdims=True), 0) ** options.get("power", 1.0)
    x, linear = rms(x), rule.network.readout.linear
    logits = x @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    delta = (p - np.eye(CLASSES)[batch.target.numpy()]) / len(x)
    weight = actual["network.readout.linear.weight"].numpy()
    np.testing.assert_allclose(weight, delta.T @ x, atol=1e-12)


def test_a_convolution_learns_from_every_patch() -> None:
    rule, batch = make(Cnn(widths=(4,)), tau=0.1), small.batch_of(2)
    w = rule.network.layers[0].affine.weight.detach().flatten(1).numpy()
    x = torch.from_numpy(rms(batch.x.numpy()))
    patches = F.unfold(x, 3, padding=1).movedim(1, 2).reshape(-1, w.shape[1]).numpy()
    assert len(patches) == 2 * 16
    actual = small.gradients(rule, batch)[WEIGHT.format(0)].flatten(1).numpy()
    np.testing.assert_allclose(-actual, change(w, list(patches), 0.1), atol=1e-9)


def test_layers_inside_a_block_learn_from_their_own_inputs() -> None:
    """The outputs of a linear map over positions, which all channels share, compete."""
    rule, batch = make(NETS["mixer"], tau=0.1), small.batch_of(2)
    actual = small.gradients(rule, batch)
    with torch.no_grad():
        first = rule.network.blocks[0]
        x = torch.from_numpy(rms(batch.x.numpy()))
        x = rule.activate(0, first.preactivation(x))
        rows = torch.from_numpy(rms(x.numpy())).flatten(2).flatten(0, 1).numpy()
    name = "network.blocks.1.inner.0.affine.weight"
    w = rule.get_parameter(name).detach().numpy()
    np.testing.assert_allclose(-actual[name].numpy(), change(w, list(rows), 0.1), atol=1e-9)


@NET
def test_labels_do_not_change_hidden_updates(net: small.NetworkSpec) -> None:
    rule, batch = make(net, dropout=0.3), small.batch_of()
    other = Batch(batch.x, (batch.target + 1) % CLASSES)
    actual, permuted = small.gradients(rule, batch), small.gradients(rule, other)
    for name, grad in actual.items():
        assert torch.equal(permuted[name], grad) != name.startswith("network.readout."), name


@NET
def test_later_blocks_and_the_readout_do_not_change_earlier_updates(net: small.NetworkSpec) -> None:
    rule, batch = make(net), small.batch_of()
    clean = small.gradients(rule, batch)
    last = len(rule.network.blocks) - 1
    with torch.no_grad():
        for p in [*rule.network.blocks[-1].parameters(), *rule.network.readout.parameters()]:
            p.fill_(math.nan)
    broken = small.gradients(rule, batch)
    for name, grad in clean.items():
        above = name.startswith((f"network.blocks.{last}.", "network.readout."))
        assert torch.equal(broken[name], grad) != above, name


@pytest.mark.parametrize(
    "net", [*NETS.values(), LfnnV1(widths=(4, 3, 6, 5))], ids=[*NETS, "lfnn-v1"]
)
def test_only_weights_learn_in_the_blocks(net: small.NetworkSpec) -> None:
    rule = make(net)
    small.gradients(rule, small.batch_of())
    weights = {id(layer.affine.weight) for layer in rule.network.layers}
    for name, p in rule.network.blocks.named_parameters():
        assert p.requires_grad == (id(p) in weights), name
        assert p.requires_grad or not p.any() or (name.endswith("norm.weight") and (p == 1).all())
    counts = parameters(rule.float(), small.SHAPE)
    fixed = sum(p.numel() for p in rule.parameters() if not p.requires_grad)
    assert (counts["aux"], counts["fix"]) == (0, fixed)
    assert [group.lr for group in rule.groups()][-2:] == [1.0, READOUT]


def test_weights_are_drawn_with_a_norm_of_25() -> None:
    rule = make(Mlp(widths=(200, 100)))
    for layer in rule.network.layers:
        assert 24.5 < layer.affine.weight.norm(dim=1).square().mean().sqrt() < 25.5
        assert abs(layer.affine.weight.mean()) < 0.1


def one_neuron(w: Tensor) -> SoftHebb:
    """Return a rule with one neuron, which always wins, with y = 1."""
    init = Init(0)
    network = Mlp(widths=(1,)).build(init, (1, 1, len(w)), CLASSES)
    task = Task("toy", (1, 1, len(w)), CLASSES)
    rule = SoftHebb(network, task, SoftHebb.Config(), init).double()
    with torch.no_grad():
        network.layers[0].affine.weight.copy_(w)
    return rule


def step(rule: SoftHebb, x: Tensor) -> Tensor:
    grads = small.gradients(rule, Batch(x[:, None, None], torch.zeros(len(x), dtype=torch.int64)))
    return -grads[WEIGHT.format(0)][0]


def test_a_neuron_of_norm_1_does_not_change() -> None:
    g = torch.Generator().manual_seed(0)
    w, x = torch.randn(5, generator=g).double(), torch.randn(8, 5, generator=g).double()
    assert step(one_neuron(w), x).norm() > 0.1
    assert step(one_neuron(w / w.norm()), x).abs().max() < 1e-7


@pytest.mark.parametrize("norm", [0.2, 3.0])
def test_a_winner_moves_towards_its_input_and_its_norm_towards_1(norm: float) -> None:
    x = torch.tensor([[1.0, 2.0, 0.5, 1.0]], dtype=torch.float64)
    w = torch.tensor([1.0, 0.5, 0.8, -0.2], dtype=torch.float64)
    w = w * norm / w.norm()
    after = w + 0.01 * step(one_neuron(w), x)
    assert torch.cosine_similarity(after, x[0], 0) > torch.cosine_similarity(w, x[0], 0)
    assert abs(after.norm() - 1) < abs(norm - 1)


def test_a_loser_moves_away_from_its_input() -> None:
    init, task = Init(0), Task("toy", (1, 1, 4), CLASSES)
    rule = SoftHebb(Mlp(widths=(2,)).build(init, (1, 1, 4), CLASSES), task, SoftHebb.Config(), init)
    x = torch.tensor([1.0, 2.0, 0.5, 1.0], dtype=torch.float64)
    rule.double()
    w = torch.stack([x / x.norm() * 0.9, torch.tensor([1.0, 0, 0, 0]).double() * 0.8])
    with torch.no_grad():
        rule.network.layers[0].affine.weight.copy_(w)
    batch = Batch(x.view(1, 1, 1, 4), torch.tensor([0]))
    after = w[1] - 0.01 * small.gradients(rule, batch)[WEIGHT.format(0)][1]
    assert torch.cosine_similarity(after, x, 0) < torch.cosine_similarity(w[1], x, 0)


def test_norms_converge_to_1() -> None:
    """Each of three neurons wins one of three clusters of inputs."""
    init, task = Init(3), Task("toy", (1, 2, 8), 3)
    rule = SoftHebb(Mlp(widths=(3,)).build(init, task.shape, 3), task, SoftHebb.Config(), init)
    groups = rule.groups()
    recipe = Recipe(optimizer="sgd", momentum=0.0, lr=0.2)
    rule.attach({group.name: Update(group, recipe) for group in groups})
    g = torch.Generator().manual_seed(0)
    centres = F.one_hot(torch.arange(3) * 5, 16).float()
    weight = rule.network.layers[0].affine.weight
    with torch.no_grad():
        weight.add_(20 * centres)
    for index in range(300):
        target = torch.randint(3, (32,), generator=g)
        x = centres[target] + 0.05 * torch.randn(32, 16, generator=g)
        rule.step(Batch(x.view(-1, 1, 2, 8), target), Step(Randomness(0), index))
    norms = weight.detach().norm(dim=1)
    assert (norms - 1).abs().max() < 0.05
    assert (torch.cosine_similarity(weight.detach(), centres, 1) > 0.95).all()


@pytest.mark.parametrize("net", [Mlp(widths=(14, 8)), Cnn(widths=(6, 8), norm="group")], ids=repr)
def test_a_step_in_bfloat16_is_near_float32(net: small.NetworkSpec) -> None:
    rule, batch = make(net, tau=0.01).float(), small.batch_of(64)
    batch.x = batch.x.float()
    exact = small.gradients(rule, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = small.gradients(rule, batch)
    for name, grad in exact.items():
        assert rough[name].dtype == torch.float32
        assert (rough[name] - grad).norm() < 0.2 * grad.norm() + 1e-2, name


def test_a_weight_made_from_others_is_refused() -> None:
    with pytest.raises(UsageError, match="'stem' is made from other parameters"):
        make(UNUSUAL["weight norm"])


def test_a_layer_that_acts_twice_is_refused() -> None:
    rule = small.make(SoftHebb, UNUSUAL["tied convolution"])
    rule.attach({group.name: lambda grads: None for group in rule.groups()})
    batch = Batch(torch.randn(6, *small.SHAPE, dtype=torch.float64), torch.arange(6) % CLASSES)
    with pytest.raises(UsageError, match="'tied1' acts more than once"):
        rule.train().step(batch, Step(Randomness(0)))
