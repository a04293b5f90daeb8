"""rand_local: fixed random readouts, their closed form, and the gradients of blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.data.digits import Digits
from lbench.errors import UsageError
from lbench.init import Init
from lbench.layer import Layer
from lbench.network import Block, Network, Readout
from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.rule import View
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.training.job import parameters
from lbench.training.optim import Update
from lbench_bp.bp import Bp
from lbench_lfnn.lfnn_l import LfnnL
from lbench_lfnn.lfnn_l_rr import LfnnLRr
from lbench_local_loss.rand_local import RandLocal
from lbench_local_loss.readouts import ReadoutConfig, Readouts
from tests.plugins.small import (
    CLASSES,
    NETS,
    SHAPE,
    assert_same,
    batch_of,
    descend,
    gradients,
    make,
)

NET = pytest.mark.parametrize("net", NETS)
OPTIONS = pytest.mark.parametrize(
    "options",
    [{"pool": 1}, {"pool": 3, "scale": 8.0}, {"norm": "layer"}, {"norm": "layer", "pool": 2}],
    ids=str,
)
SPLITS = pytest.mark.parametrize(("units", "workers"), [(7, 1), (8, 4), (7, 3)])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def readouts_of(shape: tuple[int, ...], workers: int = 1, **options: Any) -> Readouts:
    config = ReadoutConfig(**options)
    return Readouts(Init(0), "fc1", shape, CLASSES, config, workers=workers).double()


def of_layer(grads: dict[str, Tensor], k: int) -> dict[str, Tensor]:
    return {name: g for name, g in grads.items() if name.startswith(f"network.blocks.{k}.")}


# Readouts


def scores_by_loops(readouts: Readouts, h: Tensor, options: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Return logits (batch, classes, workers) by loops over examples and workers in NumPy."""
    pool, units, count = options.get("pool", 4), h.shape[1], readouts.count
    sizes = [units // count + (w < units % count) for w in range(count)]
    a, scores = readouts.weight.numpy(), np.zeros((len(h), CLASSES, count))
    for b, example in enumerate(h.numpy()):
        cells = [pooled(unit, pool) for unit in example] if h.dim() == 4 else list(example[:, None])
        per, first = len(cells[0]), 0
        for w, size in enumerate(sizes):
            f = np.concatenate(cells[first : first + size])
            if options.get("norm") == "layer":
                f = (f - f.mean()) / np.sqrt(f.var() + 1e-5)
            own = a[:, first * per : (first + size) * per]
            scores[b, :, w] = options.get("scale", 4.0) * own @ f
            first += size
    return scores


def pooled(unit: np.ndarray[Any, Any], side: int) -> np.ndarray[Any, Any]:
    """Return means over the cells of a grid; cell i of n ends at (i+1)/n, rounded up."""
    rows, columns = (min(side, n) for n in unit.shape)
    edges = [
        [(i * n // cells, -(-(i + 1) * n // cells)) for i in range(cells)]
        for n, cells in zip(unit.shape, (rows, columns), strict=True)
    ]
    return np.array([unit[t:b, lo:hi].mean() for t, b in edges[0] for lo, hi in edges[1]])


@OPTIONS
@SPLITS
@pytest.mark.parametrize("size", [(), (5, 4)], ids=str)
def test_each_worker_reads_its_own_units(
    options: dict[str, Any], units: int, workers: int, size: tuple[int, ...]
) -> None:
    readouts, h = readouts_of((units, *size), workers, **options), normal(3, units, *size)
    np.testing.assert_allclose(readouts(h), scores_by_loops(readouts, h, options), rtol=1e-9)


@OPTIONS
@SPLITS
@pytest.mark.parametrize("size", [(), (5, 4)], ids=str)
def test_pull_is_the_transposed_jacobian(
    options: dict[str, Any], units: int, workers: int, size: tuple[int, ...]
) -> None:
    readouts = readouts_of((units, *size), workers, **options)
    h, logits_grad = normal(3, units, *size).requires_grad_(), normal(3, CLASSES, workers, seed=1)
    (expected,) = torch.autograd.grad(readouts(h), h, logits_grad)
    torch.testing.assert_close(
        readouts.pull(logits_grad, h.detach()), expected, rtol=1e-10, atol=1e-13
    )


def test_readouts_are_distributed_like_a_linear_map_of_their_own_units() -> None:
    weight = readouts_of((1001,), 2).weight
    for part, fan_in in zip(weight.split([501, 500], dim=1), (501, 500), strict=True):
        assert part.abs().max() <= fan_in**-0.5
        assert part.abs().max() > 0.99 * fan_in**-0.5
        assert part.std().item() == pytest.approx((3 * fan_in) ** -0.5, rel=0.03)


def test_more_workers_than_units_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        readouts_of((3,), 4)
    assert "'fc1' has 3 units" in caught.value.message
    assert "workers=3" in caught.value.hint


def test_a_dead_block_has_finite_scores_and_gradients() -> None:
    readouts, h = readouts_of((6,), 2, norm="layer"), torch.zeros(3, 6, dtype=torch.float64)
    assert not readouts(h).any()
    assert readouts.pull(normal(3, CLASSES, 2), h).isfinite().all()


# The rule


def test_the_gradient_equals_numpy() -> None:
    rule, batch = make(RandLocal, Mlp(widths=(9, 8)), scale=2.0), batch_of()
    actual, x = gradients(rule, batch), batch.x.flatten(1).numpy()
    for k, block in enumerate(rule.network.blocks):
        w, b = (p.detach().numpy() for p in (block.layer.affine.weight, block.layer.affine.bias))
        a = 2.0 * rule.readouts[k].weight.numpy()
        z = x @ w.T + b
        h = np.maximum(z, 0)
        p = np.exp(h @ a.T)
        p /= p.sum(1, keepdims=True)
        p[np.arange(6), batch.target.numpy()] -= 1
        dz = (p / 6) @ a * (z > 0)
        name = f"network.blocks.{k}.layer.affine"
        np.testing.assert_allclose(actual[f"{name}.weight"], dz.T @ x, rtol=1e-9, atol=1e-14)
        np.testing.assert_allclose(actual[f"{name}.bias"], dz.sum(0), rtol=1e-9, atol=1e-14)
        x = h


@NET
@OPTIONS
def test_the_cotangent_is_autograds_gradient_of_the_cross_entropy(
    net: str, options: dict[str, Any]
) -> None:
    rule, batch, x = make(RandLocal, NETS[net], **options), batch_of(), batch_of().x
    for k, block in enumerate(rule.network.blocks):
        z = block.preactivation(x).detach().requires_grad_()
        h = block.activate(z)
        logits = torch.from_numpy(scores_by_loops(rule.readouts[k], h.detach(), options))
        torch.testing.assert_close(rule.readouts[k](h)[..., 0], logits[..., 0])
        loss = F.cross_entropy(rule.readouts[k](h)[..., 0], batch.target)
        (expected,) = torch.autograd.grad(loss, z)
        view = View(k, batch.x, x, z.detach(), h.detach(), batch.target)
        actual = rule.cotangent(view, Step(Randomness(0)))
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-14)
        x = block.emit(h).detach()


@pytest.mark.parametrize("net", ["mlp", "cnn", "resnet", "mixer"])
def test_one_block_with_the_readouts_weights_is_bp(net: str) -> None:
    spec, batch = NETS[net], batch_of()
    rule, bp = (make(cls, spec, blocks=1, **o) for cls, o in ((RandLocal, ONE), (Bp, {})))
    with torch.no_grad():
        bp.network.readout.linear.bias.zero_()
        rule.readouts[0].weight.copy_(bp.network.readout.linear.weight)
    assert_same(of_layer(gradients(rule, batch), 0), of_layer(gradients(bp, batch), 0))


ONE = {"scale": 1.0, "pool": 1}


class Bent(Block):
    """A block that ends in tanh."""

    def activate(self, z: Tensor) -> Tensor:
        return z.tanh()


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("cls", [RandLocal, LfnnLRr, LfnnL])
def test_the_closed_form_holds_for_another_activation(cls: Any, blocks: int) -> None:
    init = Init(0)
    layers = [Layer(f"conv{k}", init.conv(f"conv{k}", 15, 15, 3)) for k in range(2)]
    readout = Readout(init.linear("readout", 15, CLASSES))
    network = Network([Bent(layer) for layer in layers], readout).regrouped(blocks)
    rule = cls(network, Task("toy", (15, 4, 4), CLASSES), cls.Config(), init).double()
    x = torch.randn(6, 15, 4, 4, generator=torch.Generator().manual_seed(1)).double()
    batch = Batch(x, torch.arange(6) % CLASSES)
    closed = gradients(rule, batch)
    rule._closed_form = False
    autograd = gradients(rule, batch)
    assert closed.keys() == autograd.keys()
    for name, grad in autograd.items():
        torch.testing.assert_close(closed[name], grad)


@NET
def test_readouts_never_change(net: str) -> None:
    rule, batch = make(RandLocal, NETS[net]), batch_of()
    before = [readout.weight.clone() for readout in rule.readouts]
    for index in range(3):
        actual = gradients(rule, batch, index)
        assert not any(name.startswith("readouts.") for name in actual)
        descend(rule, actual, 0.1)
    for readout, weight in zip(rule.readouts, before, strict=True):
        assert torch.equal(readout.weight, weight)
        assert not readout.weight.requires_grad


@NET
def test_nan_in_later_blocks_reaches_no_earlier_block(net: str) -> None:
    rule, batch = make(RandLocal, NETS[net]), batch_of()
    clean, last = gradients(rule, batch), len(rule.network.blocks) - 1
    with torch.no_grad():
        for part in (rule.network.blocks[last], rule.readouts[last], rule.network.readout):
            for p in part.parameters():
                p.fill_(torch.nan)
    broken = gradients(rule, batch)
    for k in range(last):
        own = of_layer(clean, k)
        assert own
        assert all(torch.equal(broken[name], grad) for name, grad in own.items())
    assert all(broken[name].isnan().any() for name in of_layer(clean, last))


@pytest.mark.parametrize("k", [0, 1, 2])
def test_scaling_a_blocks_loss_changes_no_other_block(k: int) -> None:
    class Loud(RandLocal):
        def cotangent(self, v: View, s: Step) -> Tensor:
            return super().cotangent(v, s) * (1e6 if v.k == k else 1)

    batch = batch_of()
    quiet, loud = (gradients(make(rule, NETS["cnn"]), batch) for rule in (RandLocal, Loud))
    for name, grad in quiet.items():
        if name in of_layer(quiet, k):
            torch.testing.assert_close(loud[name], 1e6 * grad)
        else:
            assert torch.equal(loud[name], grad), name


def test_the_output_error_reaches_no_block() -> None:
    rule, batch = make(RandLocal, NETS["mlp"]), batch_of()
    one = gradients(rule, batch)
    with torch.no_grad():
        rule.network.readout.linear.weight.mul_(-3)
    other = gradients(rule, batch)
    for name, grad in one.items():
        assert torch.equal(other[name], grad) == (not name.startswith("network.readout.")), name


def test_readouts_are_counted_as_fixed() -> None:
    rule = make(RandLocal, Mlp(widths=(9, 8))).float()
    counted = parameters(rule, SHAPE)
    assert (counted["aux"], counted["fix"]) == (0, CLASSES * (9 + 8))
    conv = make(RandLocal, Cnn(widths=(4, 6), norm="none"), pool=2).float()
    assert parameters(conv, SHAPE)["fix"] == CLASSES * 4 * (4 + 6)


@pytest.mark.parametrize("net", ["mlp", "cnn"])
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_a_step_in_bfloat16_is_near_float32(net: str, norm: str) -> None:
    rule, batch = make(RandLocal, NETS[net], norm=norm).float(), batch_of()
    batch = Batch(batch.x.float(), batch.target)
    expected = gradients(rule, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = gradients(rule, batch)
    for name, grad in of_layer(expected, 0).items():
        cosine = F.cosine_similarity(actual[name].flatten().float(), grad.flatten(), dim=0)
        assert cosine > 0.98, name


@pytest.mark.parametrize(("net", "depth"), [("mlp", 0), ("cnn", 0), ("resnet", 1), ("mixer", 2)])
def test_blocks_of_one_layer_claim_no_transport(net: str, depth: int) -> None:
    network = NETS[net].build(Init(0), SHAPE, CLASSES)
    claims = RandLocal.claims(RandLocal.Config(), network)
    assert (claims.transport, claims.backward_depth) == ("full" if depth else "none", depth)
    assert (claims.update_locked, claims.global_error) == (False, "none")
    assert claims.couples == network.couples


def test_sixty_four_digits_are_learned_without_error() -> None:
    split = Digits().load().train
    x = torch.from_numpy(split.images[:64] / 255.0)
    batch, init = Batch(x, torch.from_numpy(split.labels[:64])), Init(0)
    network = Mlp(widths=(260, 260)).build(init, (1, 8, 8), 10)
    rule = RandLocal(network, Task("toy", (1, 8, 8), 10), RandLocal.Config(), init).double()
    rule.attach({group.name: Update(group, Recipe(lr=3e-3)) for group in rule.groups()})
    for index in range(400):
        rule.step(batch, Step(Randomness(0), index))
        if index % 20 == 19 and (rule.predict(batch.x).argmax(1) == batch.target).all():
            return
    pytest.fail("still wrong on some after 400 steps")
