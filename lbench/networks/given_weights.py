"""Weights from outside: the tensors of a state dict, filled into a network by their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lbench.errors import UsageError
from lbench.network import Network
from lbench.networks.spec import NetworkSpec

LISTED = 5
"""Names of one kind that a message lists; it counts the others."""
COUNTER = "num_batches_tracked"


class WeightSlot(NamedTuple):
    """A tensor of a network that a file of weights fills.

    Args:
        own: its name in the network's state dict.
        names: its names in files of weights.
        tensor: the tensor.
    """

    own: str
    names: tuple[str, ...]
    tensor: Tensor


def fill(
    network: Network, spec: NetworkSpec, state: Mapping[str, Tensor], *, readout: bool = False
) -> None:
    """Copy the tensors of a state dict into a network.

    Args:
        network: the network, as the family built it.
        spec: the network's family, which knows the names.
        state: the tensors by their names in a file, or in the network's own state dict.
        readout: whether the readout is filled; otherwise it keeps its values.

    Raises:
        UsageError: names or shapes differ; the message lists them, and nothing was changed.
    """
    known = dict(state)
    filled: list[tuple[Tensor, Tensor]] = []
    missing, other = [], []
    for slot in _slots(network, spec):
        given = next((name for name in (slot.own, *slot.names) if name in known), None)
        is_readout = slot.own.startswith("readout.linear.")
        if given is None:
            if not slot.own.endswith(COUNTER) and (readout or not is_readout):
                missing.append((slot.names or (slot.own,))[0])
            continue
        value = known.pop(given)
        if is_readout and not readout:
            continue
        if _squeezed(value.shape) != _squeezed(slot.tensor.shape):
            other.append(f"{given} ({_shape(value)}, not {_shape(slot.tensor)})")
            continue
        filled.append((slot.tensor, value))
    # A classifier of several layers, or none, does not concern the encoder.
    heads = {name.partition(".")[0] for name in spec.weight_names("readout", "linear.weight")}
    extra = [name for name in known if readout or name.partition(".")[0] not in heads]
    _check(missing, other, extra)
    with torch.no_grad():
        for tensor, value in filled:
            tensor.copy_(value.reshape(tensor.shape))


def changed(network: Network, spec: NetworkSpec, state: Mapping[str, Tensor]) -> str | None:
    """Return the name of a tensor of the encoder that differs from that in a state dict, or None.

    Args:
        network: the network, in any grouping of blocks.
        spec: its family.
        state: the tensors with which the network was filled.
    """
    for slot in _slots(network, spec):
        given = next((name for name in (slot.own, *slot.names) if name in state), None)
        if given is None or slot.own.startswith("readout.linear."):
            continue
        if not torch.equal(state[given].to(slot.tensor).reshape(slot.tensor.shape), slot.tensor):
            return given
    return None


def _slots(network: Network, spec: NetworkSpec) -> Iterator[WeightSlot]:
    """Yield the tensors of a network that its family names."""
    own = {id(tensor): name for name, tensor in _tensors(network)}
    layers = [(layer.name, layer) for layer in network.layers]
    for name, module in [*layers, ("readout", network.readout)]:
        for part, tensor in _tensors(module):
            if names := spec.weight_names(name, part):
                yield WeightSlot(own[id(tensor)], names, tensor)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _check(missing: Sequence[str], other: Sequence[str], extra: Sequence[str]) -> None:
    """Check that all tensors have a counterpart of the same shape.

    Raises:
        UsageError: some have none.
    """
    problems = [
        f"{text}: {_listed(names)}."
        for text, names in (
            ("The file has no", missing),
            ("Of another shape are", other),
            ("The network has no", extra),
        )
        if names
    ]
    if problems:
        raise UsageError(
            f"The given weights do not fit the network. {' '.join(problems)}",
            "Choose the network and the options (--network, --net) for which they were trained.",
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:LISTED])
    rest = len(names) - LISTED
    return f"{shown} and {rest} more" if rest > 0 else shown


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def _squeezed(shape: torch.Size) -> tuple[int, ...]:
    """Return a shape without sides of 1 at its end: a linear map and a 1x1 convolution agree."""
    sides = list(shape)
    while sides and sides[-1] == 1:
        sides.pop()
    return tuple(sides)
