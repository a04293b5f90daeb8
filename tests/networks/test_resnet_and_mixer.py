"""Residual networks and LocalMixers have the layers and parameter counts of their papers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench import Init, Layer, Network, tapped
from lbench.errors import UsageError
from lbench.networks.mixer import LocalMixer
from lbench.networks.norm import LocalNorm
from lbench.networks.resnet import Resnet


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("depth", "parameters"), [(20, 269_722), (32, 464_154), (56, 853_018), (110, 1_727_962)]
)
def test_resnets_have_the_published_size(depth: int, parameters: int) -> None:
    network = Resnet(depth=depth).build(Init(0), (3, 32, 32), 10)
    assert count(network) == parameters
    assert len(network.layers) + 1 == depth


@pytest.mark.parametrize(
    ("options", "shape", "parameters"),
    [
        ({}, (1, 28, 28), 271_892),
        ({"channels": 512, "groups": 16}, (1, 28, 28), 429_076),
        ({"patches": 8, "channels": 512, "groups": 16, "depth": 4}, (3, 32, 32), 918_770),
    ],
)
def test_mixers_have_the_published_size_with_a_head_per_block(
    options: dict[str, Any], shape: tuple[int, int, int], parameters: int
) -> None:
    network = LocalMixer(**options).build(Init(0), shape, 10)
    heads = len(network.blocks) * (network.blocks[0].width * 10 + 10)
    assert count(network) + heads == parameters


def test_a_residual_block_is_two_convolutions_and_its_input() -> None:
    network = Resnet(depth=8, width=4, norm="none").build(Init(0), (3, 8, 8), 5).double()
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    same, halved = network.blocks[1:3]

    def conv(x: Tensor, layer: Layer, stride: int = 1) -> Tensor:
        return F.conv2d(x, layer.affine.weight, layer.affine.bias, stride, 1)

    expected = F.relu(conv(F.relu(conv(x, same.layers[0])), same.layers[1]) + x)
    torch.testing.assert_close(same(x), expected)
    shortcut = torch.zeros(2, 8, 4, 4, dtype=torch.float64)
    shortcut[:, 2:6] = x[:, :, ::2, ::2]
    hidden = F.relu(conv(x, halved.layers[0], 2))
    torch.testing.assert_close(halved(x), F.relu(conv(hidden, halved.layers[1]) + shortcut))


def test_a_mixer_block_mixes_tokens_then_channels_then_channels_of_a_group() -> None:
    network = LocalMixer(patches=2, channels=6, groups=3, depth=2).build(Init(0), (1, 4, 4), 5)
    block = network.double().blocks[1]
    token, fc, grouped = block.layers
    x = torch.randn(2, 6, 2, 2, dtype=torch.float64)
    tokens = x.flatten(2)  # (batch, channels, tokens)

    def normalise(z: Tensor, groups: int) -> Tensor:  # (batch, channels, tokens)
        parts = [F.layer_norm(p.mT, (p.shape[1],), eps=1e-6).mT for p in z.chunk(groups, 1)]
        return torch.cat(parts, 1)

    h = F.relu(normalise(tokens @ token.affine.weight.T + token.affine.bias, 1))
    h = F.relu(normalise(fc.affine.weight[:, :, 0, 0] @ h + fc.affine.bias[:, None], 1))
    weight = torch.block_diag(*grouped.affine.weight[:, :, 0, 0].chunk(3))
    z = normalise(weight @ h + grouped.affine.bias[:, None], 3) + tokens
    torch.testing.assert_close(block(x).flatten(2), F.relu(z))


def test_local_norm_is_layer_norm_at_each_position() -> None:
    z = torch.randn(3, 8, 2, 2)
    expected = F.layer_norm(z.permute(0, 2, 3, 1), (8,), eps=1e-6).permute(0, 3, 1, 2)
    torch.testing.assert_close(LocalNorm()(z), expected)


NETWORKS: list[tuple[Network, tuple[int, int, int]]] = [
    (Resnet(depth=8, width=4).build(Init(0), (3, 8, 8), 5), (3, 8, 8)),
    (LocalMixer(patches=2, channels=8, groups=2, depth=3).build(Init(0), (1, 4, 4), 5), (1, 4, 4)),
]


@pytest.mark.parametrize(("network", "shape"), NETWORKS)
def test_a_tap_sees_each_layer_once_and_may_cut_there(
    network: Network, shape: tuple[int, int, int]
) -> None:
    preactivations: dict[str, Tensor] = {}

    def cut(layer: Layer, z: Tensor) -> Tensor:
        assert layer.name not in preactivations
        preactivations[layer.name] = z
        return z.detach()

    network.train()
    with tapped(network.layers, cut):
        network(torch.randn(4, *shape))
    assert [layer.name for layer in network.layers] == list(preactivations)
    shapes = {name: z.shape[1:] for name, z in preactivations.items()}
    assert shapes == network.shapes(shape)
    for layer in network.layers:
        (preactivations[layer.name].square().sum()).backward()
        reached = {name for name, p in network.named_parameters() if p.grad is not None}
        assert reached == {
            name
            for name, p in network.named_parameters()
            if any(p is q for q in layer.parameters())
        }
        network.zero_grad()


@pytest.mark.parametrize(("network", "shape"), NETWORKS)
@pytest.mark.parametrize("blocks", [1, 2])
def test_regrouped_networks_compute_the_same(
    network: Network, shape: tuple[int, int, int], blocks: int
) -> None:
    network.eval()
    x = torch.randn(4, *shape)
    torch.testing.assert_close(network.regrouped(blocks)(x), network(x))


def test_shapes_do_not_change_running_statistics() -> None:
    network, shape = NETWORKS[0]
    before = {name: value.clone() for name, value in network.named_buffers()}
    network.shapes(shape)
    assert all(torch.equal(before[name], value) for name, value in network.named_buffers())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Resnet(depth=21).build(Init(0), (3, 8, 8), 5), "6n .* 2, but got 21"),
        (lambda: LocalMixer(patches=3).build(Init(0), (1, 8, 8), 5), "8x8 into 3x3"),
        (lambda: LocalMixer(channels=10, groups=3).build(Init(0), (1, 8, 8), 5), "3 groups of 10"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_a_hint(build: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        build()
    assert caught.value.hint
