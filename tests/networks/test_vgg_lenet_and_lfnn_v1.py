"""VGG, LeNet, LFNN's first networks and normalised MLPs compute their documented layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench import Init, Network
from lbench.errors import UsageError
from lbench.networks.lenet import Lenet
from lbench.networks.lfnn_v1 import LfnnV1
from lbench.networks.mlp import Mlp
from lbench.networks.vgg import Vgg
from lbench.randomness import Randomness
from lbench.registry import registry
from lbench.step import Step


def images(*shape: int) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def affine(network: Network, name: str) -> tuple[Tensor, Tensor | None]:
    (layer,) = [layer for layer in network.layers if layer.name == name]
    return layer.affine.weight, layer.affine.bias


def normalised(z: Tensor) -> Tensor:
    """Normalise by the batch's statistics, with the initial scale 1 and shift 0."""
    return F.batch_norm(z, None, None, training=True)


def test_vgg_is_convolutions_with_batch_norm_then_a_fully_connected_layer() -> None:
    spec = Vgg(widths=(4, 5, 6), pools=(2, 3), hidden=(7,))
    network = spec.build(Init(0), (2, 9, 6), 5).double()
    x = images(3, 2, 9, 6)
    h = x
    for name, pooled in (("conv1", False), ("conv2", True), ("conv3", True)):
        h = F.relu(normalised(F.conv2d(h, *affine(network, name), padding=1)))
        h = F.max_pool2d(h, 2) if pooled else h
    assert h.shape == (3, 6, 2, 1)
    h = F.relu(normalised(F.linear(h.flatten(1), *affine(network, "fc1"))))
    readout = network.readout.linear
    torch.testing.assert_close(network(x), F.linear(h, readout.weight, readout.bias))


def test_vggs_layers_are_those_of_the_paper() -> None:
    """Compare with the lists in Nøkland & Eidnes' code, which has M for a pooling."""
    plans = {
        "vgg8b": [128, 256, "M", 256, 512, "M", 512, "M", 512, "M"],
        "vgg11b": [128, 128, 128, 256, "M", 256, 512, "M", 512, 512, "M", 512, "M"],
    }
    for name, plan in plans.items():
        entry = registry().find("networks", name)
        spec = registry().load("networks", name)(**{**entry.preset, "multiplier": 0.125})
        widths: list[Any] = []
        for block in spec.build(Init(0), (3, 32, 32), 10).blocks:
            widths += [block.width * 8 if block.convolutional else block.width]
            widths += ["M"] if block.pool == 2 else []
        assert widths == [*plan, 1024]


def test_a_multiplier_does_not_change_the_fully_connected_layer() -> None:
    spec = Vgg(widths=(4, 6), pools=(2,), hidden=(7,))
    wide = spec.model_copy(update={"multiplier": 1.5}).build(Init(0), (1, 4, 4), 5)
    assert [layer.width for layer in wide.layers] == [6, 9, 7]


def test_the_readout_of_a_vgg_without_hidden_layers_reads_means_over_positions() -> None:
    network = Vgg(widths=(4,), pools=(), hidden=()).build(Init(0), (1, 4, 4), 5)
    assert network.readout.linear.in_features == 4
    assert network(torch.zeros(2, 1, 4, 4)).shape == (2, 5)


@pytest.mark.parametrize("side", [28, 32])
def test_lenet_is_lenet_on_images_of_28_and_32(side: int) -> None:
    """Pad 28x28 by 2 in the first convolution, which makes it 32x32 with a border of 0."""
    network = Lenet().build(Init(0), (1, side, side), 10).double()
    x = images(2, 1, side, side)
    pad = (32 - side) // 2
    h = F.relu(F.conv2d(F.pad(x, [pad] * 4), *affine(network, "conv1")))
    h = F.relu(F.conv2d(F.max_pool2d(h, 2), *affine(network, "conv2")))
    h = F.relu(F.conv2d(F.max_pool2d(h, 2), *affine(network, "conv3")))
    assert h.shape == (2, 120, 1, 1)
    h = F.relu(F.linear(h.flatten(1), *affine(network, "fc1")))
    readout = network.readout.linear
    torch.testing.assert_close(network(x), F.linear(h, readout.weight, readout.bias))
    assert [layer.width for layer in network.layers] == [6, 16, 120, 84]


def test_an_lfnn_block_is_two_convolutions_pooled_and_then_normalised() -> None:
    network = LfnnV1(widths=(4, 3, 5, 6)).build(Init(0), (2, 9, 9), 5).double()
    x = h = images(3, 2, 9, 9)
    for first, second in (("conv1", "conv2"), ("conv3", "conv4")):
        h = F.relu(F.conv2d(h, *affine(network, first), padding=1))
        h = F.relu(F.conv2d(h, *affine(network, second), padding=1))
        h = normalised(F.max_pool2d(h, 2))
    assert h.shape == (3, 6, 2, 2)
    readout = network.readout.linear
    expected = F.linear(h.mean((2, 3)), readout.weight, readout.bias)
    torch.testing.assert_close(network(x), expected)


def test_dropout_follows_an_lfnn_blocks_normalisation() -> None:
    network = LfnnV1(widths=(4, 8)).build(Init(0), (1, 8, 8), 5, dropout=0.5)
    (block,) = network.blocks
    x = images(6, 1, 8, 8).float()
    plain, dropped = block(x), block(x, Step(Randomness(0)))
    zero = dropped.flatten(2).abs().sum(2) == 0
    assert 0.2 < zero.float().mean() < 0.8
    torch.testing.assert_close(dropped[~zero], 2 * plain[~zero])


@pytest.mark.parametrize("kind", ["batch", "group"])
def test_an_mlps_layers_are_normalised_before_their_activation(kind: Any) -> None:
    network = Mlp(widths=(7, 6), norm=kind).build(Init(0), (1, 2, 3), 5).double()
    x = images(4, 1, 2, 3)
    h = x.flatten(1)
    for name in ("fc1", "fc2"):
        weight, bias = affine(network, name)
        assert bias is None
        z = h @ weight.T
        dim = 0 if kind == "batch" else 1
        variance, mean = torch.var_mean(z, dim, correction=0, keepdim=True)
        h = F.relu((z - mean) / (variance + 1e-5).sqrt())
    readout = network.readout.linear
    torch.testing.assert_close(network(x), F.linear(h, readout.weight, readout.bias))


def test_normalisation_is_of_features_behind_fully_connected_layers() -> None:
    network = Vgg(widths=(4,), hidden=(6,), pools=()).build(Init(0), (1, 4, 4), 5)
    norms = [type(layer.norm) for layer in network.layers]
    assert norms == [nn.BatchNorm2d, nn.BatchNorm1d]
    assert network.couples == "mean"
    assert LfnnV1(widths=(4, 4)).build(Init(0), (1, 4, 4), 5).couples == "mean"
    none = [Mlp(widths=(4,)), Mlp(widths=(4,), norm="group"), LfnnV1(widths=(4, 4), norm="none")]
    assert {spec.build(Init(0), (1, 4, 4), 5).couples for spec in none} == {"none"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (Vgg(widths=()), "positive widths"),
        (Vgg(widths=(4, 4), pools=(1, 3)), r"2 convolutions, but got pools \[1, 3\]"),
        (Vgg(widths=(4, 0), pools=()), "positive widths"),
        (Lenet(widths=(6, 16, 120)), r"four positive widths, but got \[6, 16, 120\]"),
        (LfnnV1(widths=(6, 16, 120)), "even number of positive widths"),
        (Mlp(widths=(6, -1)), "positive widths"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_a_hint(spec: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        spec.build(Init(0), (1, 8, 8), 5)
    assert caught.value.hint
