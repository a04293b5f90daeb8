"""Every network of lbench can be regrouped into blocks without a change of its function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from lbench import Init, Network
from lbench.errors import UsageError
from lbench.networks.cnn import Cnn
from lbench.networks.convnext import ConvNext
from lbench.networks.imagenet_resnet import ImagenetResnet
from lbench.networks.lenet import Lenet
from lbench.networks.lfnn_v1 import LfnnV1
from lbench.networks.mixer import LocalMixer
from lbench.networks.mlp import Mlp
from lbench.networks.mlp_deep import MlpDeep
from lbench.networks.one_vs_all import OneVsAll
from lbench.networks.resnet import Resnet
from lbench.networks.spec import NetworkSpec, network_spec
from lbench.networks.vgg import Vgg
from lbench.networks.vit import Vit
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.registry import registry
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.training.evaluation import autocast
from lbench.training.optim import Update
from lbench_bp.bp import Bp

THIN: Mapping[type[NetworkSpec], Mapping[str, Any]] = {
    Mlp: {"widths": (9, 8, 7)},
    MlpDeep: {"width": 12, "depth": 3},
    OneVsAll: {"workers": (2,)},
    Cnn: {"widths": (4, 4, 6, 6, 8, 8)},
    Lenet: {"widths": (3, 4, 6, 5)},
    Vgg: {"multiplier": 0.03, "hidden": (6,)},
    Resnet: {"width": 2},
    ImagenetResnet: {"width": 2},
    LocalMixer: {"channels": 8, "groups": 2},
    Vit: {"channels": 16, "heads": 2, "depth": 3},
    ConvNext: {"widths": (4, 4, 6, 6)},
    LfnnV1: {"widths": (4, 3, 5, 4)},
}
"""Options that make a network of each family small, with the parts and kinds of blocks it has."""

SHAPE, CLASSES = (2, 8, 8), 5
REPEATED = ("resnet34", "resnet101", "resnet152", "vit-s16", "vit-b16", "mixer-l", "vgg-37m")
"""Networks that repeat the blocks of a shallower one, which these tests examine."""
NAMES = [name for name in registry().networks if name not in REPEATED]
EVERY = pytest.mark.parametrize("name", NAMES)


def spec_of(name: str) -> NetworkSpec:
    cls = registry().load("networks", name)
    return network_spec(registry().find("networks", name), cls, THIN[cls])


def build(name: str, shape: tuple[int, int, int] = SHAPE, dropout: float = 0.0) -> Network:
    return spec_of(name).build(Init(0), shape, CLASSES, dropout)


def images(shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.randn(4, *shape, generator=torch.Generator().manual_seed(1))


@EVERY
def test_k_blocks_have_all_layers_once_and_in_order(name: str) -> None:
    network = build(name)
    own = [[layer.name for layer in block.layers] for block in network.blocks]
    names = [layer.name for layer in network.layers]
    assert len(set(names)) == len(names)
    ends = {sum(map(len, own[:k])) for k in range(1, len(own) + 1)}
    for count in range(1, len(own) + 1):
        grouped = network.regrouped(count)
        assert len(grouped.blocks) == count
        assert [layer.name for layer in grouped.layers] == names
        sizes = [len(block.layers) for block in grouped.blocks]
        assert {sum(sizes[:k]) for k in range(1, count + 1)} <= ends
        assert grouped.block_depth == max(sizes)


@EVERY
def test_k_blocks_have_the_networks_parameters(name: str) -> None:
    network = build(name)
    whole = {id(p): p.numel() for p in network.parameters()}
    for count in range(1, len(network.blocks) + 1):
        grouped = network.regrouped(count)
        assert {id(p): p.numel() for p in grouped.parameters()} == whole
        ids = [id(p) for block in grouped.blocks for p in block.parameters()]
        assert len(set(ids)) == len(ids)


@EVERY
@pytest.mark.parametrize("train", [True, False], ids=["training", "prediction"])
def test_k_blocks_compute_the_same(name: str, train: bool) -> None:
    """Compare with dropout too: a mask has the name of its map, so it does not change."""
    network = build(name, dropout=0.3).train(train)
    s = Step(Randomness(0)) if train else None
    x, blocks = images(), len(network.blocks)
    expected = network(x, s)
    counts = range(1, blocks + 1) if blocks < 12 else (1, 2, 3, blocks // 2, blocks - 1)
    for count in counts:
        torch.testing.assert_close(network.regrouped(count)(x, s), expected)


@EVERY
def test_a_block_is_emit_of_activate_of_preactivation(name: str) -> None:
    """Compare the shapes with ``shapes`` too: h has the shape of its last layer's z."""
    network = build(name).eval()
    shapes = network.shapes(SHAPE)
    for grouped in (network, network.regrouped(1)):
        x = images()
        for block in grouped.blocks:
            z = block.preactivation(x)
            h = block.activate(z)
            assert z.shape[1:] == h.shape[1:] == shapes[block.layers[-1].name]
            assert (h.dim() == 4) == block.convolutional
            assert z.shape[1] == block.width
            torch.testing.assert_close(block.emit(h), block(x))
            x = block.emit(h)


@EVERY
def test_all_parameters_of_blocks_are_in_their_layers(name: str) -> None:
    network = build(name)
    for block in network.blocks:
        layers = {id(p) for layer in block.layers for p in layer.parameters()}
        assert {id(p) for p in block.parameters()} == layers


@EVERY
def test_the_loss_reaches_every_parameter(name: str) -> None:
    network = build(name).double()
    (network(images().double()).square().sum()).backward()
    unreached = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not unreached


@EVERY
@pytest.mark.parametrize("shape", [(1, 3, 3), (3, 1, 1), (1, 28, 28), (1, 9, 5)])
def test_a_network_accepts_a_shape_or_refuses_it_with_a_hint(
    name: str, shape: tuple[int, int, int]
) -> None:
    if isinstance(spec := spec_of(name), LocalMixer):
        _, height, width = shape
        if height != width or height % spec.patches:
            with pytest.raises(UsageError) as caught:
                build(name, shape)
            assert caught.value.hint
            return
    logits = build(name, shape)(images(shape))
    assert logits.shape == (4, CLASSES)
    assert logits.isfinite().all()


@pytest.mark.parametrize("cls", THIN)
def test_the_audits_network_accepts_its_images(cls: type[NetworkSpec]) -> None:
    network = cls(**cls.small).build(Init(0), (1, 3, 3), 3)
    assert 2 <= len(network.blocks) <= 5
    assert min(layer.width for layer in network.layers) >= 9


@pytest.mark.parametrize("cls", THIN)
def test_a_few_steps_of_bp_lower_the_loss(cls: type[NetworkSpec]) -> None:
    steps, init = 40 if cls is Vit else 20, Init(0)
    network = cls(**{**cls().model_dump(), **THIN[cls]}).build(init, SHAPE, CLASSES)
    rule = Bp(network, Task("toy", SHAPE, CLASSES), Bp.Config(), init)
    rule.attach({group.name: Update(group, Recipe(lr=0.01)) for group in rule.groups()})
    batch, losses = Batch(images(), torch.tensor([0, 3, 1, 4])), []
    for index in range(steps):
        s = Step(Randomness(0), index)
        rule.step(batch, s)
        losses.append(s.logs["loss"].item())
    assert losses[-1] < 0.5 * losses[0]


def test_every_family_has_a_small_network() -> None:
    assert {registry().load("networks", name) for name in NAMES} == set(THIN)


@EVERY
def test_every_network_trains_in_bfloat16_with_weights_in_float32(name: str) -> None:
    task = Task("data", SHAPE, CLASSES)
    rule = Bp(build(name), task, Bp.Config(), Init(1))
    rule.attach({group.name: Update(group, Recipe()) for group in rule.groups()})
    before = {name: weight.clone() for name, weight in rule.named_parameters()}
    s = Step(Randomness(0), 0)
    with autocast(torch.device("cpu"), "bf16"):
        rule.step(Batch(images(), torch.arange(4)), s)
        assert rule.eval().predict(images()).dtype == torch.bfloat16
    assert torch.isfinite(s.logs["loss"])
    for weight_name, weight in rule.named_parameters():
        assert weight.dtype == torch.float32
        assert not torch.equal(weight, before[weight_name]), weight_name
