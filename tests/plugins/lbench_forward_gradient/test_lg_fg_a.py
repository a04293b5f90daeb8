"""lg_fg_a: each contraction includes all that noise can change, and nothing else."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.init import Init
from lbench.layer import Layer, tapped
from lbench.network import Block
from lbench.networks.mixer import LocalMixer
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.step import Step
from lbench.task import Task
from lbench.training.job import parameters
from lbench_forward_gradient.contraction import Reach
from lbench_forward_gradient.fg_a import FgA
from lbench_forward_gradient.lg_fg_a import LgFgA

from . import small
from .small import NETS, Net

NET = pytest.mark.parametrize("net", NETS.values(), ids=list(NETS))


@NET
@pytest.mark.parametrize("mask", [True, False])
def test_the_mean_over_a_basis_of_a_blocks_noise_is_the_gradient_of_its_loss(
    net: Net, mask: bool
) -> None:
    rule, batch = small.make(LgFgA, net, mask=mask), small.batch_of()
    exact = small.local_gradients(rule, batch.x, batch.target, Step(Randomness(0)))
    for k, block in enumerate(rule.network.blocks):
        mean = small.mean_over_basis(rule, batch, block.layers)
        # Heads and the readout have their exact gradients for any noise.
        learns = (f"network.blocks.{k}.", "heads.", "network.readout.")
        own = {name: grad for name, grad in exact.items() if name.startswith(learns)}
        small.assert_same({name: mean[name] for name in own}, own)


@NET
def test_a_unit_cannot_change_what_its_contraction_leaves_out(net: Net) -> None:
    """The contraction is compared with the Jacobian of h at every z, with every unit active."""
    rule = small.make(LgFgA, net)
    x = small.batch_of(1).x
    for block, reaches in zip(rule.network.blocks, rule.reaches, strict=True):
        passes = small.passes(rule, block.layers).values()
        for number, ((_, shape), reach) in enumerate(zip(passes, reaches, strict=True)):

            def h_of(
                z: Tensor, x: Tensor = x, number: int = number, block: Block = block
            ) -> Tensor:
                count = itertools.count()

                def tap(_: Layer, old: Tensor) -> Tensor:
                    z_ = z if next(count) == number else old
                    return F.softplus(z_)  # a range in which ReLU is the identity

                with tapped(block.layers, tap):
                    h: Tensor = block.activate(block.preactivation(x))
                return h

            jacobian = torch.autograd.functional.jacobian(h_of, torch.zeros(1, *shape).double())
            h_shape = jacobian.shape[1 : -1 - len(shape)]
            j = jacobian.reshape(h_shape[0], math.prod(h_shape[1:]), shape[0], -1)
            groups = reach.groups
            j = j.view(groups, -1, j.shape[1], groups, shape[0] // groups, j.shape[3])
            touched = (j != 0).any(4).any(1)  # (group, position, group, position)
            own = torch.eye(groups, dtype=torch.bool)[:, None, :, None]
            if reach.local:
                own = own & torch.eye(touched.shape[1], dtype=torch.bool)[None, :, None, :]
            assert not (touched & ~own).any(), (block.name, number)
        with torch.no_grad():
            x = block(x)


def test_contractions_in_a_localmixer_are_those_of_the_paper() -> None:
    """Tokens are mixed first, so positions stay separate, and groups from the last dense map on."""
    first, second = small.make(LgFgA, NETS["mixer"]).reaches
    assert first == [Reach(True, 2), Reach(True, 2)]  # patch, group1
    assert second == [Reach(True, 1), Reach(True, 2), Reach(True, 2)]  # token2, fc2, group2


def test_contractions_in_residual_blocks_are_local_only_behind_the_last_convolution() -> None:
    reaches = small.make(LgFgA, NETS["resnet"]).reaches
    assert reaches == [[Reach(True, 1)], *[[Reach(False, 1), Reach(True, 1)]] * 3]


def test_the_contraction_sums_over_channels_of_a_group_and_mixed_positions() -> None:
    g = torch.Generator().manual_seed(0)
    products = torch.randn(2, 6, 2, 2, generator=g)
    u = torch.randn(2, 4, 2, 2, generator=g)
    for local in (True, False):
        expected = torch.empty_like(u)
        for b in range(2):
            for c in range(4):
                own = products[b, :3] if c < 2 else products[b, 3:]
                for i in range(2):
                    for j in range(2):
                        total = own[:, i, j].sum() if local else own.sum()
                        expected[b, c, i, j] = total * u[b, c, i, j]
        torch.testing.assert_close(Reach(local, 2).contract(products, u), expected)
    # With one channel per group and position, the parts of an example add up to its slope.
    parts = Reach(True, 2).contract(products, torch.ones(2, 2, 2, 2))
    torch.testing.assert_close(parts.flatten(1).sum(1), products.flatten(1).sum(1))


@pytest.mark.parametrize("blocks", [None, 1])
def test_one_block_whose_head_is_the_readout_learns_as_fg_a(blocks: int | None) -> None:
    net = Net(Mlp(widths=(6,) if blocks is None else (6, 5)), blocks)
    local, whole, batch = small.make(LgFgA, net), small.make(FgA, net), small.batch_of()
    local.heads[0].load_state_dict(local.network.readout.linear.state_dict())
    actual, expected = small.gradients(local, batch), small.gradients(whole, batch)
    for part in ("weight", "bias"):
        head = actual.pop(f"heads.0.{part}")
        assert torch.equal(head, actual[f"network.readout.linear.{part}"])
    small.assert_same(actual, expected)


def test_estimates_follow_finite_differences_of_the_local_loss_with_the_same_noise() -> None:
    """Node perturbation is the same rule with finite differences instead of derivatives."""
    rule, batch = small.make(LgFgA, NETS["mlp"], mask=False), small.batch_of()
    block, head, x = rule.network.blocks[0], rule.heads[0], batch.x.flatten(1)
    actual, expected = [], []
    for seed in range(10):
        g = torch.Generator().manual_seed(seed)
        u = {name: torch.randn(3, n, generator=g).double() for name, n in (("fc1", 6), ("fc2", 5))}
        with torch.no_grad():
            above, below = (
                F.cross_entropy(
                    head(block.activate(block.preactivation(batch.x) + eps * u["fc1"])),
                    batch.target,
                    reduction="none",
                )
                for eps in (1e-6, -1e-6)
            )
        slope = (above - below) / 2e-6
        expected.append((slope[:, None] * u["fc1"]).T @ x / 3)
        grads = small.gradients(rule, batch, small.Given(u))
        actual.append(grads["network.blocks.0.layer.affine.weight"])
    a, b = torch.stack(actual).flatten(), torch.stack(expected).flatten()
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 1 - 1e-8
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("net", ["mlp", "mixer"])
def test_several_perturbations_are_averaged(net: str) -> None:
    batch, s = small.batch_of(), Step(Randomness(3))
    rule = small.make(LgFgA, NETS[net], perturbations=3)
    draws = [rule.estimate(0, batch.x, batch.target, s, draw).grads for draw in range(3)]
    actual = small.gradients(rule, batch, s)
    for name in draws[0]:
        mean = sum(grads[name] for grads in draws) / 3
        torch.testing.assert_close(actual[name], mean, rtol=1e-12, atol=1e-14)
        assert name.startswith("heads.") or not torch.allclose(draws[0][name], draws[1][name])


@pytest.mark.parametrize("net", [NETS["mlp"], NETS["resnet"], NETS["mixer"]])
def test_nan_in_later_blocks_and_heads_does_not_reach_a_block(net: Net) -> None:
    rule, batch = small.make(LgFgA, net), small.batch_of()
    clean = small.gradients(rule, batch)
    with torch.no_grad():
        for module in (*rule.network.blocks[1:], rule.network.readout, *rule.heads[1:]):
            for p in module.parameters():
                p.fill_(math.nan)
    broken = small.gradients(rule, batch)
    first = [name for name in clean if name.startswith(("network.blocks.0.", "heads.0."))]
    assert len(first) >= 4
    for name in first:
        assert torch.equal(broken[name], clean[name])


@pytest.mark.slow
@pytest.mark.thorough
def test_local_contractions_have_less_variance_than_one_number_per_example() -> None:
    """The mean square over draws is compared, for a block of four positions and two groups."""
    net, batch = NETS["mixer"], small.batch_of()
    squares = {}
    for coarse in (False, True):
        rule = small.make(LgFgA, net)
        if coarse:
            rule.reaches = [[Reach(False, 1)] * len(block.layers) for block in rule.network.blocks]
        squares[coarse] = sum(
            grad.square().sum()
            for index in range(40)
            for name, grad in small.gradients(rule, batch, Step(Randomness(7), index)).items()
            if name.startswith("network.blocks.")
        )
    assert 2 * squares[False] < squares[True]


def test_the_smallest_localmixer_has_the_published_parameters_on_mnist() -> None:
    init, shape = Init(0), (1, 28, 28)
    network = LocalMixer().build(init, shape, 10)
    rule = LgFgA(network, Task("mnist", shape, 10), LgFgA.Config(), init)
    counts = parameters(rule, shape)
    assert counts["inf"] + counts["aux"] == 271_892
    assert counts["fix"] == 0
