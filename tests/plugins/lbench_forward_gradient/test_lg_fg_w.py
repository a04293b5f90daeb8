"""lg_fg_w: a weight's noise is multiplied by the derivative through all that it feeds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.network import spatial_mean
from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.rule import Rule
from lbench.step import Phase, Step
from lbench_forward_gradient.contraction import contract_groups
from lbench_forward_gradient.fg_w import FgW
from lbench_forward_gradient.lg_fg_a import LgFgA
from lbench_forward_gradient.lg_fg_w import LgFgW

from . import small
from .small import NETS, Given, Net

NET = pytest.mark.parametrize("net", NETS.values(), ids=list(NETS))
BATCH_NORM = Net(Cnn(widths=(3, 4, 2)))


def perturbed(rule: LgFgW) -> list[str]:
    return [name for groups in rule.channel_groups for name in groups]


@NET
def test_the_mean_over_a_basis_of_a_blocks_noise_is_the_gradient_of_its_loss(net: Net) -> None:
    rule, batch = small.make(LgFgW, net), small.batch_of()
    exact = small.local_gradients(rule, batch.x, batch.target, Step(Randomness(0)))
    for groups in rule.channel_groups:
        spanned, mean = small.mean_over_weights(rule, batch, perturbed(rule), list(groups), 24)
        assert spanned
        # Heads and the readout have their exact gradients for any noise.
        own = [*spanned, *(name for name in exact if name.startswith(("heads.", "network.r")))]
        small.assert_same({name: mean[name] for name in own}, {name: exact[name] for name in own})


@pytest.mark.parametrize("net", [*NETS.values(), BATCH_NORM], ids=[*NETS, "batch norm"])
def test_a_weights_noise_is_multiplied_by_the_slope_through_its_group_of_channels(
    net: Net,
) -> None:
    """a_g is computed by autograd, with noise in all of the block's weights at once."""
    rule, batch = small.make(LgFgW, net), small.batch_of()
    v = small.noise_of(rule, perturbed(rule))
    actual = small.gradients(rule, batch, Given(v))
    params, x, s = dict(rule.named_parameters()), batch.x, Step(Randomness(0))
    for k, (block, groups) in enumerate(zip(rule.network.blocks, rule.channel_groups, strict=True)):
        h = block.activate(block.preactivation(x, s))
        features = h.detach().requires_grad_()
        loss = F.cross_entropy(rule.heads[k](spatial_mean(features)), batch.target)
        (g,) = torch.autograd.grad(loss, features)
        names = list(groups)
        for count in sorted(set(groups.values())):
            slopes = []
            for part in range(count):
                width = h.shape[1] // count
                channels = slice(part * width, (part + 1) * width)
                only = torch.zeros_like(g)
                only[:, channels] = g[:, channels]
                grads = torch.autograd.grad(
                    h, [params[name] for name in names], only, retain_graph=True
                )
                slopes.append(
                    sum((d * v[name]).sum() for name, d in zip(names, grads, strict=True))
                )
            for name in names:
                if groups[name] == count:
                    rows = torch.stack(slopes).repeat_interleave(len(params[name]) // count)
                    expected = rows.view(-1, *[1] * (params[name].dim() - 1)) * v[name]
                    torch.testing.assert_close(actual[name], expected, rtol=1e-9, atol=1e-12)
        x = block.emit(h, s).detach()


def test_slopes_of_all_groups_add_up_to_the_slope_of_the_local_loss() -> None:
    g = torch.Generator().manual_seed(0)
    products = torch.randn(5, 6, 2, 2, generator=g)
    ones = {"grouped": torch.ones(3, 4), "dense": torch.ones(6, 4), "bias": torch.ones(6)}
    actual = contract_groups(products, ones, {"grouped": 3, "dense": 1, "bias": 2})
    torch.testing.assert_close(actual["grouped"][:, 0].sum(), products.sum())
    torch.testing.assert_close(actual["dense"], products.sum().expand(6, 4))
    torch.testing.assert_close(actual["bias"][:3], products[:, :3].sum().expand(3))
    torch.testing.assert_close(actual["bias"][3:], products[:, 3:].sum().expand(3))


def test_weights_have_groups_if_no_later_map_or_normalisation_mixes_them() -> None:
    def groups(net: str) -> list[dict[str, int]]:
        rule = small.make(LgFgW, NETS[net])
        short = {"inner.0": "0", "inner.1": "1", "layer": "last"}
        return [
            {
                short[name.split(".", 3)[3].rpartition(".affine.")[0]]: count
                for name, count in block.items()
            }
            for block in rule.channel_groups
        ]

    # The local normalisation behind patch and fc2 is over all channels of a position.
    assert groups("mixer") == [{"0": 1, "last": 2}, {"0": 1, "1": 1, "last": 2}]
    assert groups("mixer without norm") == [{"0": 2, "last": 2}, {"0": 1, "1": 2, "last": 2}]


@pytest.mark.parametrize("blocks", [None, 1])
def test_one_block_whose_head_is_the_readout_learns_as_fg_w(blocks: int | None) -> None:
    net = Net(Mlp(widths=(6,) if blocks is None else (6, 5)), blocks)
    local, whole, batch = small.make(LgFgW, net), small.make(FgW, net), small.batch_of()
    local.heads[0].load_state_dict(local.network.readout.linear.state_dict())
    actual, expected = small.gradients(local, batch), small.gradients(whole, batch)
    for part in ("weight", "bias"):
        head = actual.pop(f"heads.0.{part}")
        assert torch.equal(head, actual[f"network.readout.linear.{part}"])
    small.assert_same(actual, expected)


def test_estimates_follow_finite_differences_of_the_local_loss_with_the_same_noise() -> None:
    rule, batch = small.make(LgFgW, NETS["resnet"]), small.batch_of()
    params, s = dict(rule.named_parameters()), Step(Randomness(0))
    names = perturbed(rule)
    x = rule.network.blocks[0](batch.x).detach()
    name = "network.blocks.1.first.affine.weight"
    actual, expected = [], []
    for seed in range(10):
        v = small.noise_of(rule, names, seed)
        losses = []
        for eps in (1e-5, -1e-5):
            own = {n: params[n].detach() + eps * v[n] for n in rule.channel_groups[1]}
            h = torch.func.functional_call(rule, own, (1, x, s))
            losses.append(F.cross_entropy(rule.heads[1](spatial_mean(h)), batch.target).detach())
        expected.append((losses[0] - losses[1]) / 2e-5 * v[name])
        actual.append(small.gradients(rule, batch, Given(v))[name])
    a, b = torch.stack(actual).flatten(), torch.stack(expected).flatten()
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 1 - 1e-8
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("net", [NETS["mlp"], NETS["resnet"], NETS["mixer"]])
def test_nan_in_later_blocks_and_heads_does_not_reach_a_block(net: Net) -> None:
    rule, batch = small.make(LgFgW, net), small.batch_of()
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


@pytest.mark.parametrize("kind", [LgFgA, LgFgW])
def test_a_block_outside_the_phase_is_not_trained_and_runs_in_evaluation_mode(
    kind: type[Rule],
) -> None:
    net = Net(Mlp(widths=(6, 5, 4)), dropout=0.4)
    rule, batch = small.make(kind, net), small.batch_of()
    s = Step(Randomness(0), phase=Phase("second", groups=frozenset({"block1"})))
    actual = small.gradients(rule, batch, s)
    own = {
        name
        for name, _ in rule.named_parameters()
        if name.startswith(("network.blocks.1.", "heads.1."))
    }
    assert set(actual) == own
    x = rule.network.blocks[0](batch.x).detach()  # without dropout
    alone = {}
    rule.attach({"block1": alone.update})
    rule.train_block(1, x, batch, s)
    small.assert_same(actual, alone)


def test_one_slope_per_group_has_less_variance_than_one_per_block() -> None:
    """The mean square over draws is compared, for the weights of the mixer's grouped maps."""
    net, batch = NETS["mixer without norm"], small.batch_of()
    squares: dict[bool, Tensor] = {}
    for coarse in (False, True):
        rule = small.make(LgFgW, net)
        grouped = [name for groups in rule.channel_groups for name in groups if groups[name] > 1]
        if coarse:
            rule.channel_groups = [dict.fromkeys(groups, 1) for groups in rule.channel_groups]
        squares[coarse] = torch.stack(
            [
                grads[name].square().sum()
                for index in range(40)
                for grads in [small.gradients(rule, batch, Step(Randomness(7), index))]
                for name in grouped
            ]
        ).mean()
    assert 1.3 * squares[False] < squares[True]


@pytest.mark.parametrize("net", ["mlp", "mixer", "cnn"])
def test_several_perturbations_are_averaged(net: str) -> None:
    batch, s = small.batch_of(), Step(Randomness(3))
    rule = small.make(LgFgW, NETS[net], perturbations=3)
    draws = [rule.estimate(0, batch.x, batch.target, s, draw).grads for draw in range(3)]
    actual = small.gradients(rule, batch, s)
    for name in draws[0]:
        mean = sum(grads[name] for grads in draws) / 3
        torch.testing.assert_close(actual[name], mean, rtol=1e-12, atol=1e-14)
        assert name.startswith("heads.") or not torch.allclose(draws[0][name], draws[1][name])


def test_batchnorms_statistics_change_once_per_step_with_several_draws() -> None:
    batch = small.batch_of()
    first, several = (small.make(LgFgW, BATCH_NORM, perturbations=count) for count in (1, 3))
    for rule in (first, several):
        small.gradients(rule, batch)
    assert first.network.blocks[0].layer.norm.num_batches_tracked == 1
    for name, value in first.named_buffers():
        assert torch.equal(value, dict(several.named_buffers())[name])
