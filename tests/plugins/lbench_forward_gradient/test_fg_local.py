"""fg_local: the network's gradient at each block's h, projected onto that of the local loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.network import spatial_mean
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.step import Step
from lbench_bp.bp import Bp
from lbench_forward_gradient.fg_local import FgLocal

from . import small
from .small import NETS, Net

NET = pytest.mark.parametrize("net", NETS.values(), ids=list(NETS))


def projected(rule: FgLocal, x: Tensor, target: Tensor, s: Step) -> dict[str, Tensor]:
    """Project autograd's gradients at each h, example by example, and backpropagate the result."""
    blocks, features, h = rule.network.blocks, [], x
    for block in blocks:
        h = block.activate(block.preactivation(h, s))
        features.append(h)
        h = block.emit(h, s)
    loss = F.cross_entropy(rule.network.readout(h), target)
    params = dict(rule.named_parameters())
    projections = {}
    for k, h in enumerate(features[:-1]):
        (aim,) = torch.autograd.grad(loss, h, retain_graph=True)
        head = rule.heads[k]
        own = F.cross_entropy(head(spatial_mean(h)), target)
        (guess,) = torch.autograd.grad(own, h, retain_graph=True)
        estimate = torch.zeros_like(h)
        for b in range(len(x)):
            estimate[b] = (aim[b] * guess[b]).sum() / guess[b].square().sum() * guess[b]
        names = [name for name in params if name.startswith(f"network.blocks.{k}.")]
        grads = torch.autograd.grad(
            h, [params[name] for name in names], estimate, retain_graph=True
        )
        projections |= dict(zip(names, grads, strict=True))
        names = [f"heads.{k}.weight", f"heads.{k}.bias"]
        grads = torch.autograd.grad(own, [params[name] for name in names], retain_graph=True)
        projections |= dict(zip(names, grads, strict=True))
    last = f"network.blocks.{len(blocks) - 1}."
    names = [name for name in params if name.startswith((last, "network.readout."))]
    grads = torch.autograd.grad(loss, [params[name] for name in names])
    return projections | dict(zip(names, grads, strict=True))


@NET
def test_each_examples_gradient_at_h_is_projected_onto_that_of_the_local_loss(net: Net) -> None:
    rule, batch = small.make(FgLocal, net), small.batch_of()
    expected = projected(rule, batch.x, batch.target, Step(Randomness(0)))
    small.assert_same(small.gradients(rule, batch), expected)


@pytest.mark.parametrize("name", ["mlp in one block", "cnn in one block", "mixer in one block"])
def test_one_block_is_bp(name: str) -> None:
    batch = small.batch_of()
    actual = small.gradients(small.make(FgLocal, NETS[name]), batch)
    small.assert_same(actual, small.gradients(small.make(Bp, NETS[name]), batch))


def test_a_guess_parallel_to_the_gradient_gives_the_gradient() -> None:
    """In a block of one unit every guess is parallel to the gradient."""
    net, batch = Net(Mlp(widths=(1, 5))), small.batch_of()
    exact = small.gradients(small.make(Bp, net), batch)
    for scale in (1e-6, 1.0, -50.0):
        rule = small.make(FgLocal, net)
        with torch.no_grad():
            rule.heads[0].weight.mul_(scale)
        actual = small.gradients(rule, batch)
        small.assert_same({name: actual[name] for name in exact}, exact)
    assert exact["network.blocks.0.layer.affine.weight"].abs().max() > 1e-3


def test_a_flat_local_loss_gives_its_block_no_gradient() -> None:
    rule, batch = small.make(FgLocal, NETS["cnn"]), small.batch_of()
    with torch.no_grad():
        rule.heads[0].weight.zero_()
    actual = small.gradients(rule, batch)
    for name, grad in actual.items():
        assert (grad == 0).all() == name.startswith("network.blocks.0."), name


def test_the_derivative_is_that_of_finite_differences() -> None:
    """The derivative of logits along a tangent of h is tested with pooling and dropout."""
    net = NETS["cnn"]._replace(dropout=0.3)
    rule, s = small.make(FgLocal, net), Step(Randomness(3))
    g = torch.Generator().manual_seed(1)
    for k in range(2):
        h = torch.randn(3, rule.network.blocks[k].width, 4, 4, generator=g).double()
        u = torch.randn(h.shape, generator=g).double()
        if k == 1:
            h, u = h.abs(), u.abs()

        def logits(h: Tensor, k: int = k) -> Tensor:
            x = rule.network.blocks[k].emit(h, s)
            for block in rule.network.blocks[k + 1 :]:
                x = block(x, s)
            return rule.network.readout(x)

        with torch.no_grad():
            difference = (logits(h + 1e-6 * u) - logits(h - 1e-6 * u)) / 2e-6
            actual = rule.derivative(k, h, u, s)
        torch.testing.assert_close(actual, difference, rtol=1e-6, atol=1e-9)


def test_a_step_equals_numpy() -> None:
    rule, batch = small.make(FgLocal, NETS["mlp"]), small.batch_of(4)
    p = {name: value.detach().numpy() for name, value in rule.named_parameters()}

    def affine(name: str, h: np.ndarray) -> np.ndarray:
        return h @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def output_error(logits: np.ndarray) -> np.ndarray:
        e = np.exp(logits - logits.max(1, keepdims=True))
        return (e / e.sum(1, keepdims=True) - np.eye(3)[batch.target.numpy()]) / 4

    first, second, out = (
        "network.blocks.0.layer.affine",
        "network.blocks.1.layer.affine",
        "network.readout.linear",
    )
    x = batch.x.flatten(1).numpy()
    h1 = np.maximum(affine(first, x), 0)
    z2 = affine(second, h1)
    h2 = np.maximum(z2, 0)
    e, local = output_error(affine(out, h2)), output_error(affine("heads.0", h1))
    u = local @ p["heads.0.weight"]
    forward = ((u @ p[f"{second}.weight"].T) * (z2 > 0)) @ p[f"{out}.weight"].T
    slope = (e * forward).sum(1, keepdims=True) / (u**2).sum(1, keepdims=True)
    at_z1, at_z2 = slope * u * (h1 > 0), (e @ p[f"{out}.weight"]) * (z2 > 0)
    cotangents = {first: (at_z1, x), second: (at_z2, h1), out: (e, h2), "heads.0": (local, h1)}
    actual = small.gradients(rule, batch)
    assert len(actual) == 2 * len(cotangents)
    for name, (delta, inputs) in cotangents.items():
        for part, value in (("weight", delta.T @ inputs), ("bias", delta.sum(0))):
            np.testing.assert_allclose(
                actual[f"{name}.{part}"].numpy(), value, rtol=1e-9, atol=1e-13
            )
