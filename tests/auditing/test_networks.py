"""The networks of the false-alarm benchmark have the stated structure, and train."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lbench import Init, Network, Task
from lbench.auditing.rules import CLASSES, SHAPE
from lbench.randomness import Randomness
from lbench.step import Step
from lbench.task import Batch
from lbench_bp.bp import Bp
from tests.auditing.networks import UNUSUAL

EVERY = pytest.mark.parametrize("name", UNUSUAL)


def build(name: str, dropout: float = 0.0) -> Network:
    return UNUSUAL[name].build(Init(0), SHAPE, CLASSES, dropout)


@EVERY
def test_a_network_has_the_size_of_an_audit(name: str) -> None:
    network = build(name)
    assert sum(p.numel() for p in network.parameters()) <= 50_000
    assert 4 <= len(network.layers) + 1 <= 12
    assert len(network.blocks) == 3
    names = [layer.name for layer in network.layers]
    assert len(set(names)) == len(names)


@EVERY
def test_a_blocks_parameters_belong_to_its_layers(name: str) -> None:
    for block in build(name).blocks:
        in_layers = {id(p) for layer in block.layers for p in layer.parameters()}
        assert {id(p) for p in block.parameters()} == in_layers


@EVERY
def test_every_layer_is_used_and_trained(name: str) -> None:
    network = build(name, dropout=0.3)
    shapes = network.shapes(SHAPE)
    assert set(shapes) == {layer.name for layer in network.layers}
    rule = Bp(network, Task("audit", SHAPE, CLASSES), Bp.Config(), Init(1))
    moved: dict[str, bool] = {}
    rule.attach({"all": lambda grads: moved.update({n: bool(g.any()) for n, g in grads.items()})})
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, *SHAPE, generator=generator)
    rule.train().step(Batch(x, torch.arange(12) % CLASSES), Step(Randomness(0)))
    still = {name for name, _ in rule.named_parameters() if not moved[name]}
    # A key's bias adds the same number to every score of a query.
    assert still <= {f"network.blocks.{k}.inner.1.affine.bias" for k in (1, 2)}


def test_only_batch_norm_couples_examples() -> None:
    for name in UNUSUAL:
        network = build(name)
        batch_norm = any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
        assert (network.couples == "mean") == batch_norm


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("ResNet-18", 2),  # the downsampling is parallel to the first convolution
        ("attention", 2),  # queries, keys and values are parallel
        ("gated", 2),
        ("tied convolution", 2),  # one layer, applied twice
        ("weight norm", 1),
        ("ConvNeXt", 3),
        ("squeeze and excitation", 4),
    ],
)
def test_the_depth_of_a_block_follows_the_flow_of_its_data(name: str, depth: int) -> None:
    network = build(name)
    network.input_shape = SHAPE
    state = {key: value.clone() for key, value in network.state_dict().items()}
    assert network.block_depth == depth
    assert network.training
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


def test_the_depth_of_a_block_leaves_each_module_in_its_mode() -> None:
    network = build("ResNet-18")
    network.input_shape = SHAPE
    still = network.blocks[0].eval()
    assert network.block_depth == 2
    assert network.training
    assert not any(module.training for module in still.modules())
