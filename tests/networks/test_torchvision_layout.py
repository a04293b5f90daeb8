"""Networks in torchvision's layout compute what torchvision's models compute, and are as large."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lbench.data import _torchvision
from lbench.errors import UsageError
from lbench.init import Init
from lbench.network import Chain
from lbench.networks.given_weights import fill
from lbench.networks.imagenet_resnet import ImagenetResnet
from lbench.networks.spec import NetworkSpec, network_spec
from lbench.registry import registry
from tests.networks.shapes import without_values

models: Any = _torchvision.load("models")


def spec_of(name: str, **options: Any) -> NetworkSpec:
    known = registry()
    return network_spec(known.find("networks", name), known.load("networks", name), options)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def images(side: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, side, side, generator=generator, dtype=torch.float64)


def varied(make: Callable[..., nn.Module], *args: Any, **options: Any) -> nn.Module:
    """Return a model whose parameters and statistics all differ, in float64."""
    with torch.device("meta"):
        model = make(*args, **options)
    model = model.to_empty(device="cpu").double()
    generator = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
            fan_in = tensor[0].numel() if tensor.dim() > 1 else 1
            tensor.copy_(noise + 0.5 if "var" in name else (noise - 0.4) * 2 / math.sqrt(fan_in))
        else:
            tensor.zero_()
    return model


@pytest.mark.parametrize(
    ("name", "theirs"),
    [(f"resnet{depth}", f"resnet{depth}") for depth in (18, 34, 50, 101, 152)],
)
def test_parameter_counts_for_1000_classes_are_torchvisions(name: str, theirs: str) -> None:
    with torch.device("meta"):
        model = getattr(models, theirs)()
    assert count(without_values(spec_of(name), (3, 224, 224), 1000)) == count(model)


def assert_same_logits(spec: NetworkSpec, model: nn.Module, side: int, *, classes: int = 7) -> None:
    """Assert that a network with a model's weights has its logits, in both modes."""
    network = without_values(spec, (3, side, side), classes).to_empty(device="cpu").double()
    fill(network, spec, model.state_dict(), readout=True)
    for mode in (True, False):
        actual, expected = (m.train(mode)(images(side)) for m in (network, model))
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
        assert expected.std() > 0.01


def test_a_resnet18_with_torchvisions_weights_has_its_logits() -> None:
    model = varied(models.resnet18, num_classes=7)
    assert_same_logits(spec_of("resnet18", stem="7x7"), model, 40)


def test_a_resnet_of_bottlenecks_with_torchvisions_weights_has_its_logits() -> None:
    bottleneck = models.resnet.Bottleneck
    model = varied(models.resnet.ResNet, bottleneck, [2, 1, 1, 1], num_classes=7)
    assert_same_logits(spec_of("resnet50", stages=(2, 1, 1, 1)), model, 72)


@pytest.mark.slow
def test_a_resnet50_with_torchvisions_weights_has_its_logits() -> None:
    assert_same_logits(spec_of("resnet50"), varied(models.resnet50, num_classes=7), 224)


def test_the_stem_is_small_for_small_images() -> None:
    def first(side: int, **options: Any) -> tuple[Any, ...]:
        network = ImagenetResnet(width=2, stages=(1,), **options).build(Init(0), (3, side, side), 4)
        conv: Any = network.layers[0].affine
        return conv.kernel_size[0], conv.stride[0], network.blocks[0](torch.ones(1, 3, side, side))

    for side, options in ((64, {}), (32, {}), (65, {"stem": "3x3"})):
        kernel, stride, out = first(side, **options)
        assert (kernel, stride, out.shape[-1]) == (3, 1, side)
    for side, options in ((65, {}), (224, {}), (64, {"stem": "7x7"})):
        kernel, stride, out = first(side, **options)
        assert (kernel, stride, out.shape[-1]) == (7, 2, -(-side // 4))


def test_blocks_are_residual_blocks_or_whole_stages() -> None:
    assert len(without_values(spec_of("resnet18"), (3, 32, 32), 10).blocks) == 9
    network = without_values(spec_of("resnet50", block="stage"), (3, 32, 32), 10)
    assert [len(block.layers) for block in network.blocks] == [1, 10, 13, 19, 10]
    assert all(isinstance(block, Chain) for block in network.blocks[1:])
    assert [block.layers[-1].name for block in network.blocks][1:] == [
        "layer1.2.conv3", "layer2.3.conv3", "layer3.5.conv3", "layer4.2.conv3"
    ]  # fmt: skip


def test_fully_connected_layers_read_the_averaged_features() -> None:
    network = ImagenetResnet(width=4, stages=(1,), hidden=(6, 5)).build(Init(0), (3, 8, 8), 4)
    x = network.eval().blocks[1](network.blocks[0](torch.randn(2, 3, 8, 8)))
    first, second = (layer.affine for layer in network.layers[-2:])
    expected = network.readout.linear(second(first(x.mean((2, 3))).relu()).relu())
    y = x
    for block in network.blocks[2:]:
        y = block(y)
    torch.testing.assert_close(network.readout(y), expected)


def test_stages_and_hidden_layers_need_positive_numbers() -> None:
    for options in ({"stages": ()}, {"stages": (1, 0)}, {"hidden": (0,)}):
        with pytest.raises(UsageError) as refused:
            ImagenetResnet(**options).build(Init(0), (3, 8, 8), 4)
        assert refused.value.hint
