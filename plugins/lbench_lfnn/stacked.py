"""Networks side by side, one a class, in the modules of one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lbench.errors import UsageError
from lbench.init import Init
from lbench.network import Network
from lbench_lfnn.workers import require_multiple

NETWORK = "Take a fully connected one, for example --network one-vs-all."


class Stacked(nn.Linear):
    """Linear maps side by side: outputs of a part see the inputs of that part alone.

    The weight is (outputs, inputs / parts), as that of a convolution with groups.

    Args:
        linear: whose parameters these are; its inputs are those of one part.
        parts: how many there are.
    """

    def __init__(self, linear: nn.Linear, parts: int) -> None:
        bias = linear.bias is not None
        super().__init__(linear.in_features, linear.out_features, bias=bias, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.parts = parts

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs) to (batch, outputs), part by part."""
        rows = x.view(len(x), self.parts, -1)
        weight = self.weight.view(self.parts, -1, self.weight.shape[1])
        z = torch.einsum("bpi,poi->bpo", rows, weight).flatten(1)
        return z if self.bias is None else z + self.bias


def stack(network: Network, classes: int, init: Init) -> None:
    """Cuts a fully connected network into one network a class, each with an output unit.

    Of a layer of classes times W units, unit k·W + w is unit w of class k's network. All see the
    whole input; later layers and the readout see units of their own class.

    Raises:
        UsageError: a layer is not fully connected, has a width that is no multiple of the
            classes, or a normalisation that mixes units.
    """
    layers, inputs = network.layers, None
    for layer in layers:
        affine = layer.affine
        if not isinstance(affine, nn.Linear) or inputs not in (None, affine.in_features):
            raise UsageError(
                "Stacked binary networks have fully connected layers, each on the one before; "
                f"{layer.name!r} is none.",
                NETWORK,
            )
        if layer.norm is not None and not isinstance(layer.norm, _BatchNorm):
            raise UsageError(
                f"The normalisation of {layer.name!r} would mix the classes' networks.",
                "Give --net norm=none or norm=batch.",
            )
        require_multiple(layer.name, affine.out_features, classes, f"{classes} classes")
        inputs = affine.out_features
    for layer in layers[1:]:
        affine = layer.affine
        layer.affine = Stacked(
            init.linear(
                f"stacked.{layer.name}",
                affine.weight.shape[1] // classes,
                layer.width,
                bias=affine.bias is not None,
            ),
            classes,
        )
    readout = init.linear("stacked.readout", layers[-1].width // classes, classes)
    network.readout = Stacked(readout, classes)  # type: ignore[assignment]
