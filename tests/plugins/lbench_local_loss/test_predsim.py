"""predsim equals an explicit computation in NumPy, and its losses have the right inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lbench.init import Init
from lbench.networks.cnn import Cnn
from lbench.networks.mixer import LocalMixer
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.step import Step
from lbench.task import Batch, Task
from lbench_local_loss.pred import Pred
from lbench_local_loss.predsim import PredSim
from lbench_local_loss.sim import Sim

from .small import (
    CLASSES,
    NET,
    NETS,
    Array,
    batch_of,
    gradients,
    make,
    of_block,
    wanted,
)


class Recorder(Step):
    """A step that stores the gathered tensors in the order of the calls."""

    def __init__(self) -> None:
        super().__init__(Randomness(0))
        self.gathered: list[Tensor] = []

    def gather(self, t: Tensor) -> Tensor:
        self.gathered.append(t.detach())
        return t


class Part(Step):
    """The step of one of several processes, which gathers the whole batch's rows without graphs."""

    def __init__(self, gathered: list[Tensor]) -> None:
        super().__init__(Randomness(0))
        self.gathered = list(gathered)

    def gather(self, t: Tensor) -> Tensor:
        return self.gathered.pop(0)


def test_two_halves_that_gather_detached_rows_have_the_whole_batchs_gradient() -> None:
    rule, batch, recorder = make(beta=0.5), batch_of(8), Recorder()
    whole = gradients(rule, batch, recorder)
    one, other = (
        gradients(rule, Batch(batch.x[rows], batch.target[rows]), Part(recorder.gathered))
        for rows in (slice(0, 4), slice(4, 8))
    )
    for name, grad in whole.items():
        torch.testing.assert_close((one[name] + other[name]) / 2, grad)


@NET
def test_a_batch_of_one_has_no_similarities_to_learn(net: str) -> None:
    rule = make(NETS[net], beta=1.0).eval()  # BatchNorm cannot train on one value
    rule.attach({group.name: lambda grads: None for group in rule.groups()})
    actual = gradients(rule, batch_of(1))
    for name, grad in actual.items():
        if not name.startswith("network.readout."):
            assert grad.abs().max() < 1e-12, name


# A whole step


def by_hand(rule: PredSim, batch: Batch) -> dict[str, Array]:
    """Compute every gradient of one step on fully connected layers without autograd."""
    beta, slope = rule.config.beta, rule.config.slope
    p = {name: value.detach().numpy() for name, value in rule.named_parameters()}
    n, x, t = len(batch.target), batch.x.flatten(1).numpy(), batch.target.numpy()
    one_hot = np.eye(CLASSES)[t]
    grads = {}

    def softmax(logits: Array) -> Array:
        e = np.exp(logits - logits.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    for k in range(len(rule.network.blocks)):
        layer = f"network.blocks.{k}.layer.affine"
        z = x @ p[f"{layer}.weight"].T + p[f"{layer}.bias"]
        h = np.where(z > 0, z, slope * z)

        head = f"predictors.{k}.linear"
        logits_grad = (softmax(h @ p[f"{head}.weight"].T + p[f"{head}.bias"]) - one_hot) / n
        logits_grad *= 1 - beta
        grads[f"{head}.weight"], grads[f"{head}.bias"] = logits_grad.T @ h, logits_grad.sum(0)
        dh = logits_grad @ p[f"{head}.weight"]

        weight = f"maps.{k}.1.weight"
        u = h @ p[weight].T
        centred = u - u.mean(1, keepdims=True)
        norm = np.sqrt((centred**2).sum(1, keepdims=True))
        unit = centred / norm
        gap = 2 * beta * (unit @ unit.T - wanted(t, CLASSES)) / n**2
        dunit = 2 * gap @ unit
        dcentred = (dunit - unit * (unit * dunit).sum(1, keepdims=True)) / norm
        du = dcentred - dcentred.mean(1, keepdims=True)
        grads[weight] = du.T @ h
        dh = dh + du @ p[weight]

        dz = np.where(z > 0, 1, slope) * dh
        grads[f"{layer}.weight"], grads[f"{layer}.bias"] = dz.T @ x, dz.sum(0)
        x = h
    logits_grad = (
        softmax(x @ p["network.readout.linear.weight"].T + p["network.readout.linear.bias"])
        - one_hot
    ) / n
    grads["network.readout.linear.weight"] = logits_grad.T @ x
    grads["network.readout.linear.bias"] = logits_grad.sum(0)
    return grads


@pytest.mark.parametrize("options", [{}, {"beta": 0.3, "slope": 0.2}])
def test_a_step_equals_numpy_by_hand(options: dict[str, float]) -> None:
    rule, batch = make(**options), batch_of(9)
    actual, expected = gradients(rule, batch), by_hand(rule, batch)
    assert actual.keys() == expected.keys()
    for name, grad in expected.items():
        assert np.abs(grad).max() > 1e-6, name
        np.testing.assert_allclose(actual[name].numpy(), grad, rtol=0, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("net", NETS)
def test_beta_0_is_pred_and_beta_1_is_sim_on_the_blocks(net: str) -> None:
    batch = batch_of()
    for beta, rule, options in ((0.0, Pred, {}), (1.0, Sim, {"slope": 0.0})):
        expected = gradients(make(NETS[net], rule, **options), batch)
        actual = gradients(make(NETS[net], beta=beta, slope=0.0), batch)
        for name, grad in expected.items():
            assert grad.abs().max() > 0, name
            torch.testing.assert_close(actual[name], grad, rtol=0, atol=1e-15)


def test_heads_are_in_front_of_dropout_and_pooling() -> None:
    net, batch = Cnn(widths=(6, 5, 4)), batch_of()
    full, dropped = (gradients(make(net, dropout=rate), batch) for rate in (0.0, 0.5))
    for name, grad in of_block(full, 0).items():
        assert torch.equal(dropped[name], grad), name
    assert not torch.equal(dropped["maps.1.weight"], full["maps.1.weight"])
    assert full["maps.1.weight"].shape == (5, 5, 3, 3)
    assert full["predictors.1.linear.weight"].shape == (CLASSES, 5 * 4 * 4)


# Isolation


def test_the_readouts_labels_reach_no_block() -> None:
    class Other(Task):
        def loss(self, logits: Tensor, target: Tensor) -> Tensor:
            return 1e6 * super().loss(logits, (target + 1) % CLASSES)

    one, other = (gradients(make(task=task), batch_of()) for task in (Task, Other))
    for name, grad in one.items():
        assert torch.equal(other[name], grad) == (not name.startswith("network.readout.")), name


def test_without_similarities_examples_are_independent() -> None:
    for beta, independent in ((0.0, True), (1.0, False)):
        rule, batch = make(beta=beta), batch_of(6)
        whole = gradients(rule, batch)
        parts = [
            gradients(rule, Batch(batch.x[i : i + 1], batch.target[i : i + 1])) for i in range(6)
        ]
        name = "network.blocks.0.layer.affine.weight"
        mean = torch.stack([part[name] for part in parts]).mean(0)
        assert torch.allclose(mean, whole[name]) == independent


def test_the_papers_mlp_has_its_published_number_of_parameters() -> None:
    """These are 2,913,290 without heads, 3 x 1024² in T and 30,750 in the predictors."""
    rule = make(Mlp(widths=(1024,) * 3), shape=(1, 28, 28), classes=10)
    inference = sum(p.numel() for p in rule.network.parameters())
    heads = sum(p.numel() for p in rule.parameters()) - inference
    assert (inference, heads) == (2_913_290, 3_176_478)


def test_a_map_of_one_position_is_compared_by_a_linear_map() -> None:
    rule = make(LocalMixer(patches=1, channels=6))
    assert rule.maps[0][1].weight.shape == (6, 6)
    assert make(Cnn(widths=(6,))).maps[0].weight.shape == (6, 6, 3, 3)


# Claims and learning


@pytest.mark.parametrize(("net", "depth"), [("mlp", 1), ("cnn", 1), ("resnet", 2), ("mixer", 3)])
def test_the_backward_depth_is_that_of_a_block_and_its_head(net: str, depth: int) -> None:
    network = NETS[net].build(Init(0), (1, 4, 4), CLASSES)
    claims = PredSim.claims(PredSim.Config(), network)
    assert (claims.transport, claims.backward_depth, claims.couples) == ("full", depth, "rows")
    assert (claims.update_locked, claims.global_error) == (False, "none")
    assert PredSim.claims(PredSim.Config(beta=0.0), network).couples == network.couples
