"""Networks in torchvision's layout compute what torchvision's models compute, and are as large."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from lbench.data import _torchvision
from lbench.errors import UsageError
from lbench.init import Init
from lbench.network import Chain
from lbench.networks.convnext import ConvNext
from lbench.networks.given_weights import fill
from lbench.networks.imagenet_resnet import ImagenetResnet
from lbench.networks.spec import NetworkSpec, network_spec
from lbench.networks.vit import Vit, attention
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
    [
        ("resnet18", "resnet18"),
        ("resnet50", "resnet50"),
        *(
            pytest.param(f"resnet{depth}", f"resnet{depth}", marks=pytest.mark.slow)
            for depth in (34, 101, 152)
        ),
        ("vit-b16", "vit_b_16"),
        ("convnext-tiny", "convnext_tiny"),
    ],
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


def test_a_vision_transformer_with_torchvisions_weights_has_its_logits() -> None:
    model = varied(
        models.VisionTransformer, image_size=16, patch_size=4, num_layers=2, num_heads=3,
        hidden_dim=24, mlp_dim=96, num_classes=7,
    )  # fmt: skip
    assert_same_logits(Vit(patch=4, channels=24, depth=2, heads=3), model, 16)


def test_a_convnext_with_torchvisions_weights_has_its_logits() -> None:
    setting = models.convnext.CNBlockConfig
    model = varied(
        models.convnext.ConvNeXt,
        [setting(12, 24, 2), setting(24, 36, 1), setting(36, None, 2)],
        num_classes=7,
    )
    spec = ConvNext(stages=(2, 1, 2), widths=(12, 24, 36))
    assert_same_logits(spec, model, 72)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "theirs"), [("vit-b16", "vit_b_16"), ("convnext-tiny", "convnext_tiny")]
)
def test_other_networks_with_torchvisions_weights_have_its_logits(name: str, theirs: str) -> None:
    options = {"stochastic_depth_prob": 0.0} if theirs == "convnext_tiny" else {}
    model = varied(getattr(models, theirs), num_classes=7, **options)
    assert_same_logits(spec_of(name), model, 224)


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


def test_a_vision_transformers_weights_may_have_timms_names() -> None:
    spec = Vit(patch=4, channels=6, depth=2, heads=2)
    network = spec.build(Init(0), (3, 8, 8), 5)
    names = {
        "cls_token", "pos_embed", "norm.bias", "patch_embed.proj.weight", "blocks.0.attn.qkv.bias",
        "blocks.1.norm2.weight", "blocks.1.mlp.fc2.bias", "blocks.0.attn.proj.weight", "head.bias",
    }  # fmt: skip
    layers = [*network.layers, network.readout]
    parts = [
        (getattr(layer, "name", "readout"), own)
        for layer in layers for own, _ in layer.named_parameters()
    ]  # fmt: skip
    timm = {spec.weight_names(layer, own)[1] for layer, own in parts}
    assert names <= timm
    assert len(timm) == len(parts) == 12 * 2 + 8
    assert spec.weight_names("readout", "linear.bias") == ("heads.head.bias", "head.bias")


@pytest.mark.parametrize(
    ("side", "patch"), [(8, 1), (28, 4), (32, 4), (64, 8), (9, 1), (80, 16), (224, 16)]
)
def test_a_vision_transformer_has_patches_that_fit_the_image(side: int, patch: int) -> None:
    conv: Any = without_values(Vit(channels=3, depth=1), (3, side, side), 5).layers[0].affine
    assert conv.stride == conv.kernel_size == (patch, patch)


def test_without_a_class_token_the_tokens_lie_on_a_grid() -> None:
    network = Vit(channels=6, depth=2, heads=2, pool="mean").build(Init(0), (3, 16, 24), 5).eval()
    x = torch.randn(2, 3, 16, 24)
    tokens = network.blocks[0](x)
    assert tokens.shape == (2, 6, 8, 12)
    encoder, _ = network.blocks[1].parts
    h = encoder(tokens)
    logits = network.readout(F.layer_norm(h.mean((2, 3)), (6,), eps=1e-6))
    torch.testing.assert_close(network(x), logits)


def test_attention_has_the_same_values_with_and_without_a_tangent() -> None:
    generator = torch.Generator().manual_seed(0)
    qkv, noise = (torch.randn(2, 18, 5, 1, generator=generator).double() for _ in range(2))
    with forward_ad.dual_level():
        value, tangent = forward_ad.unpack_dual(attention(forward_ad.make_dual(qkv, noise), 2))
    torch.testing.assert_close(value, attention(qkv, 2))
    step = 1e-6 * noise
    slope = (attention(qkv + step, 2) - attention(qkv - step, 2)) / 2e-6
    torch.testing.assert_close(tangent, slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (Vit(patch=5), "8x8 into patches of 5x5"),
        (Vit(heads=5), "5 heads of 192 channels"),
        (ConvNext(stages=(1,)), "each stage"),
        (ConvNext(stages=(), widths=()), "each stage"),
        (ConvNext(stages=(1, 0), widths=(4, 4)), "each stage"),
    ],
)
def test_options_that_do_not_fit_are_refused(spec: NetworkSpec, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        spec.build(Init(0), (3, 8, 8), 4)
    assert refused.value.hint
