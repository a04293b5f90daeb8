"""One network per class, side by side in the modules of a single network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lbench.errors import MisfitError, UsageError
from lbench.init import Init
from lbench.network import Network
from lbench_lfnn.workers import require_multiple

NETWORK = "Choose a fully connected network, for example --network one-vs-all."


class BlockDiagonalLinear(nn.Linear):
    """A block-diagonal linear map: the outputs of each part depend on the inputs of that part.

    The weight is (outputs, inputs / parts), like that of a convolution with groups.

    Args:
        linear: the map whose parameters this one takes over; its inputs are those of one part.
        parts: number of parts.
    """

    def __init__(self, linear: nn.Linear, parts: int) -> None:
        bias = linear.bias is not None
        super().__init__(linear.in_features, linear.out_features, bias=bias, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.parts = parts

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs) to (batch, outputs), part by part."""
        rows = x.view(len(x), self.parts, -1)
        weight = self.weight.view(self.parts, -1, self.weight.shape[1])
        z = torch.einsum("bpi,poi->bpo", rows, weight).flatten(1)
        return z if self.bias is None else z + self.bias


def split_by_class(network: Network, classes: int, init: Init) -> None:
    """Split a fully connected network into one network per class, each with one output unit.

    In a layer of classes times W units, unit k·W + w is unit w of the network of class k. All
    networks see the whole input; later layers and the readout see the units of their own class.

    Raises:
        UsageError: a layer is not fully connected, its width is not a multiple of the number of
            classes, or its normalisation mixes units.
    """
    layers, inputs = network.layers, None
    for layer in layers:
        affine = layer.affine
        if not isinstance(affine, nn.Linear) or inputs not in (None, affine.in_features):
            raise UsageError(
                "Stacked binary networks need fully connected layers, each on the previous one, "
                f"but {layer.name!r} is not such a layer.",
                NETWORK,
            )
        if layer.norm is not None and not isinstance(layer.norm, _BatchNorm):
            raise MisfitError(
                f"The normalisation of {layer.name!r} would mix the classes' networks.",
                "Choose BatchNorm, or no normalisation.",
                {"norm": "batch"},
            )
        require_multiple(layer.name, affine.out_features, classes, f"{classes} classes")
        inputs = affine.out_features
    for layer in layers[1:]:
        affine = layer.affine
        layer.affine = BlockDiagonalLinear(
            init.linear(
                f"stacked.{layer.name}",
                affine.weight.shape[1] // classes,
                layer.width,
                bias=affine.bias is not None,
            ),
            classes,
        )
    readout = init.linear("stacked.readout", layers[-1].width // classes, classes)
    network.readout = BlockDiagonalLinear(readout, classes)  # type: ignore[assignment]
