"""Auxiliary classifiers have the layers that their options define."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.init import Init
from lbench.networks.cnn import Cnn
from lbench.networks.mixer import LocalMixer
from lbench.networks.mlp import Mlp
from lbench.networks.norm import LocalNorm
from lbench.networks.spec import NetworkSpec
from lbench.task import Task
from lbench_greedy.heads import GridMean, HeadConfig, heads
from tests.plugins.small import CLASSES, NETS, SHAPE, batch_of


def built(net: NetworkSpec, **options: Any) -> nn.ModuleList:
    init = Init(1)
    network = net.build(init, SHAPE, CLASSES)
    return heads(network, Task("toy", SHAPE, CLASSES), HeadConfig(**options), init)


def kinds(head: nn.Module) -> list[type]:
    """Return the types of the layers, PyTorch's own for those that Init creates."""
    own = (nn.Conv2d, nn.Linear)
    return [next((c for c in own if isinstance(m, c)), type(m)) for m in head.children()]


def affine(head: nn.Module) -> list[Any]:
    return [m for m in head.children() if isinstance(m, nn.Linear | nn.Conv2d)]


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_problem_of_k_hidden_layers_has_k_minus_1_convolutions_before_pooling(k: int) -> None:
    hidden = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * (k - 1)
    for head, width in zip(built(NETS["cnn"], k=k, pool=2), (4, 6, 5), strict=True):
        assert kinds(head) == [*hidden, GridMean, nn.Linear]
        *convs, linear = affine(head)
        for conv in convs:
            assert (conv.in_channels, conv.out_channels) == (width, width)
            assert (conv.kernel_size, conv.padding, conv.stride) == ((3, 3), (1, 1), (1, 1))
        assert (linear.in_features, linear.out_features) == (4 * width, CLASSES)


def test_fully_connected_blocks_have_linear_hidden_layers() -> None:
    for head, width in zip(built(NETS["mlp"], k=3), (9, 8, 7), strict=True):
        assert kinds(head) == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, GridMean, nn.Linear]
        assert [m.in_features for m in affine(head)] == [width] * 3


def test_a_map_of_one_position_has_1x1_convolutions() -> None:
    """Eight of the nine weights of a 3x3 convolution would see only padding."""
    one = LocalMixer(patches=1, channels=12, groups=3, depth=1)
    (head,) = built(one, k=2)
    assert affine(head)[0].kernel_size == (1, 1)


@pytest.mark.parametrize(
    ("net", "norm"),
    [
        (Cnn(widths=(4, 6)), nn.BatchNorm2d),
        (Cnn(widths=(4, 6), norm="group"), nn.GroupNorm),
        (Cnn(widths=(4, 6), norm="none"), None),
        (Mlp(widths=(9, 8)), None),
        (LocalMixer(patches=2, channels=12, groups=3, depth=2), LocalNorm),
    ],
    ids=repr,
)
def test_hidden_layers_are_normalised_as_their_block_is(
    net: NetworkSpec, norm: type[nn.Module] | None
) -> None:
    for head in built(net, k=2):
        layers = list(head.children())
        assert type(layers[1]) is (norm or nn.ReLU)
    init = Init(1)
    network = net.build(init, SHAPE, CLASSES)
    own = {id(p) for p in network.parameters()}
    made = heads(network, Task("toy", SHAPE, CLASSES), HeadConfig(k=2), init)
    assert not own & {id(p) for p in made.parameters()}  # the norm is a copy


@pytest.mark.parametrize("net", NETS)
def test_hidden_layers_have_a_bias_if_the_blocks_last_layer_has_one(net: str) -> None:
    """LocalNorm learns no shift, so a mixer's maps have biases in front of it."""
    network = NETS[net].build(Init(1), SHAPE, CLASSES)
    for block, head in zip(network.blocks, built(NETS[net], k=3), strict=True):
        *hidden, _ = affine(head)
        assert {m.bias is None for m in hidden} == {block.layers[-1].affine.bias is None}


def by_hand(head: Any, h: Tensor, pool: int) -> Tensor:
    """Return the logits of a classifier with k = 2 behind a convolution with BatchNorm."""
    conv, linear = affine(head)
    u = F.unfold(h, 3, padding=1)  # (batch, channels * 9, positions)
    z = torch.einsum("oi,bip->bop", conv.weight.flatten(1), u)
    z = (z - z.mean((0, 2), keepdim=True)) / (z.var((0, 2), False, keepdim=True) + 1e-5).sqrt()
    z = z.clamp(min=0).view(h.shape)
    cell = h.shape[2] // pool
    cells = z.view(len(h), -1, pool, cell, pool, cell).mean((3, 5)).flatten(1)
    logits: Tensor = cells @ linear.weight.T + linear.bias
    return logits


@pytest.mark.parametrize("pool", [1, 2])
def test_a_convolutional_classifier_equals_an_explicit_computation(pool: int) -> None:
    init = Init(1)
    network = NETS["cnn"].build(init, SHAPE, CLASSES)
    task = Task("toy", SHAPE, CLASSES)
    head = heads(network, task, HeadConfig(k=2, pool=pool), init)[0].double()
    h = network.blocks[0].double()(batch_of().x)
    torch.testing.assert_close(head(h), by_hand(head, h, pool))


def test_a_grid_is_not_finer_than_the_feature_map() -> None:
    for pool in (4, 9):
        for head, (width, side) in zip(
            built(NETS["cnn"], pool=pool), ((4, 4), (6, 4), (5, 2)), strict=True
        ):
            assert affine(head)[-1].in_features == width * side**2


@pytest.mark.parametrize("options", [{}, {"k": 2}, {"head": "mlp"}, {"k": 3, "head": "mlp"}])
@pytest.mark.parametrize("net", NETS)
def test_depth_counts_the_maps_of_a_classifier(net: str, options: dict[str, Any]) -> None:
    for head in built(NETS[net], **options):
        assert len(affine(head)) == HeadConfig(**options).depth
