"""as_network: a network of any module that consists of blocks and a linear readout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lbench.errors import UsageError
from lbench.init import Init
from lbench.network import Network, Readout
from lbench.networks.block_maker import BlockMaker
from lbench.networks.division import Division
from lbench.networks.layered_graph import LayeredGraph


def as_network(
    module: nn.Module,
    init: Init,
    shape: tuple[int, int, int],
    *,
    blocks: Sequence[str],
    readout: str,
    dropout: float = 0.0,
) -> Network:
    """Return a network of a module's own maps, in blocks, with lbench's initial weights.

    A block ends behind the module that is named for it, and behind everything without trained
    parameters that follows, such as an activation and pooling; the next block begins there. Layers
    have the names of the maps in the module. A normalisation belongs to the layer in front of it,
    and a sum with a shortcut to the layer that ends in it. The network computes what ``forward``
    computes, and shares the module's parameters.

    Args:
        module: maps (batch, channels, height, width) to logits (batch, classes).
        init: draws the initial weights of each map, by its layer's name.
        shape: (channels, height, width) of an example.
        blocks: the name of one module per block, in their order, such as ``"layer1.0"``.
        readout: the name of the last linear map.
        dropout: share of each block's activations that is set to 0 in training.

    Raises:
        UsageError: a name is wrong, or the module cannot be divided into such blocks; the message
            names the part that does not fit.
    """
    example = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        module.eval()
        expected = _forward(module, example)
        division = Division(LayeredGraph(module, example), blocks, readout)
        maker = BlockMaker(division)
        parts = [
            maker.block(path, source, nodes, dropout)
            for path, source, nodes in zip(blocks, division.sources, division.members, strict=True)
        ]
        network = Network(parts, Readout(division.readout))
        _check_own_parameters(network)
        network.eval()
        if not torch.allclose(network(example), expected, rtol=1e-4, atol=1e-5):
            raise UsageError(
                f"The blocks of {type(module).__name__} compute other logits than its forward.",
                "Give each step of forward a module of its own.",
            )
    for layer in network.layers:
        init.fill(layer.name, layer.affine)
    init.fill("readout", network.readout.linear)
    return network.train()


def _forward(module: nn.Module, example: Tensor) -> Tensor:
    """Return the logits of an example.

    Raises:
        UsageError: the module returns something else.
    """
    logits = module(example)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise UsageError(
            f"{type(module).__name__} does not return one tensor (batch, classes).",
            "Give a module whose forward returns logits.",
        )
    return logits


def _check_own_parameters(network: Network) -> None:
    """Check that each parameter is in one layer of one block, or in the readout.

    Raises:
        UsageError: two share one, as tied weights do.
    """
    owners: dict[int, str] = {}
    for k, block in enumerate(network.blocks):
        for layer in block.layers:
            for parameter in layer.parameters():
                owner = f"layer {layer.name!r} of block {k}"
                if owners.setdefault(id(parameter), owner) != owner:
                    raise _shared(owners[id(parameter)], owner)
    for parameter in network.readout.parameters():
        if id(parameter) in owners:
            raise _shared(owners[id(parameter)], "the readout")


def _shared(first: str, second: str) -> UsageError:
    return UsageError(
        f"{first[0].upper()}{first[1:]} and {second} share a parameter.",
        "Give each map weights of its own, or join the blocks that call the same map.",
    )
