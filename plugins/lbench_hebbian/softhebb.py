"""softhebb: channels compete for each input, and the winner's weights move towards the input."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.errors import UsageError
from lbench.init import Init
from lbench.layer import Layer
from lbench.network import Network
from lbench.recipe import Recipe
from lbench.rule import Group, LocalRule
from lbench.step import Step
from lbench.task import Batch
from lbench_contrast.forward_forward import normalized

Affine = nn.Linear | nn.Conv2d
RADIUS = 25.0
"""The root mean square of the norm of a neuron's initial weights."""
READOUT = 5.0
"""The readout's learning rate, as a multiple of that of the blocks."""


class SoftHebb(LocalRule):
    """Soft competition with Hebbian updates of the winner and anti-Hebbian ones of the others.

    With u = w * x at a position and y = softmax_k(tau u) over the channels there (Journé et al.
    2023, arXiv:2209.11883),

        dw_k = eta_k sum ± y_k (x - u_k w_k),    eta_k = eta | ||w_k|| - 1 |^(1/2),

    where the sum is over the batch and all positions, with + for the channel of largest u and -
    for the others. The sums of an affine map are divided by the largest of them. Weights are
    drawn with a norm of 25, and a neuron stops learning when its norm reaches 1. Every layer
    learns from its own input, without labels. There are no biases, and normalisations have no
    scale and shift. The readout learns from labels.

    The inputs of blocks and of the readout are divided by their root mean square.
    """

    class Config(RuleConfig):
        """Options of softhebb."""

        tau: float = param(
            1.0, low=0.01, high=100, log=True, help="Factor on u in front of the softmax"
        )
        power: float = param(
            1.0,
            low=0.1,
            high=4.0,
            help="Exponent of the activation, relu(z minus its mean over channels)",
        )

    config: SoftHebb.Config

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(
            transport="none",
            backward_depth=0,
            update_locked=False,
            global_error="none",
            couples="mean",  # Sums over the batch are divided by the largest of them.
        )

    @classmethod
    def recipe(cls, default: Recipe, dataset: str, network: str) -> Recipe:
        """Return plain SGD, since the rule itself sets the learning rate of each neuron."""
        return default.model_copy(update={"optimizer": "sgd", "momentum": 0.0, "lr": 0.1})

    def build(self, init: Init) -> None:
        for block in self.network.blocks:
            block.requires_grad_(False)
        for layer in self.network.layers:
            weight, bias = layer.affine.weight, layer.affine.bias
            if not isinstance(weight, nn.Parameter):
                raise UsageError(
                    f"The weight of {layer.name!r} is made from other parameters, and rule "
                    "softhebb updates weights that are parameters themselves.",
                    "Choose a network without weight normalisation and other parametrisations.",
                )
            std = RADIUS / math.sqrt(weight[0].numel())
            with torch.no_grad():
                weight.copy_(init.normal(f"softhebb/{layer.name}", weight.shape, std))
                if bias is not None:
                    bias.zero_()
            weight.requires_grad_()

    def groups(self) -> list[Group]:
        *blocks, readout = super().groups()
        return [*blocks, replace(readout, lr=READOUT)]

    def activate(self, k: int, z: Tensor) -> Tensor:
        """Return the triangle activation: relu(z minus its mean over channels) to a power."""
        above = F.relu(z - z.mean(1, keepdim=True))
        return above if self.config.power == 1 else above**self.config.power

    def train_block(self, k: int, x: Tensor, batch: Batch, s: Step) -> Tensor:
        block, group = self.network.blocks[k], f"block{k}"
        with cut_maps(block.layers) as outputs:
            z = block.preactivation(normalized(x), s)
        if len(outputs) > len(block.layers):
            raise UsageError(
                f"A layer of block {block.name!r} acts more than once, and rule softhebb has one "
                "update per layer and step.",
                "Choose a network that applies each of its layers once.",
            )
        descents = {affine.weight: self.descent(affine, u, s) for affine, u in outputs}
        self.update(group, {name: descents[p] for name, p in self._groups[group].items()})
        return block.emit(self.activate(k, z.detach()), s)

    def train_readout(self, x: Tensor, target: Tensor, s: Step) -> None:
        super().train_readout(normalized(x), target, s)

    def predict(self, x: Tensor) -> Tensor:
        for k, block in enumerate(self.network.blocks):
            x = block.emit(self.activate(k, block.preactivation(normalized(x))))
        logits: Tensor = self.network.readout(normalized(x))
        return logits

    def descent(self, affine: Affine, u: Tensor, s: Step) -> Tensor:
        """Return -dw of an affine map without the recipe's eta, of the shape of its weight.

        Args:
            affine: the map.
            u: its output, with a graph to its weight only.
            s: the step.
        """
        channel = 1 if isinstance(affine, nn.Conv2d) else -1
        with torch.no_grad():
            wide = u.to(torch.promote_types(u.dtype, torch.float32))
            # Products with smaller numbers are denormal: they are slow and do not matter.
            y = F.threshold((self.config.tau * wide).softmax(channel), 1e-20, 0.0).neg_()
            winner = wide.argmax(channel, keepdim=True)
            y.scatter_(channel, winner, y.gather(channel, winner).neg())
            decay = (y * wide).movedim(channel, 0).flatten(1).sum(1, keepdim=True)
        (towards,) = torch.autograd.grad(u, affine.weight, y.to(u.dtype))
        w: Tensor = affine.weight.detach().flatten(1)
        dw = s.mean(towards.flatten(1).addcmul_(decay, w, value=-1)[None])
        low, high = dw.aminmax()
        largest = torch.maximum(-low, high).clamp_min(torch.finfo(dw.dtype).tiny)
        rate = (w.norm(dim=1, keepdim=True) - 1).abs().sqrt()
        descent: Tensor = dw.mul_(-rate / largest).view_as(affine.weight)
        return descent


@contextmanager
def cut_maps(layers: Sequence[Layer]) -> Iterator[list[tuple[Affine, Tensor]]]:
    """Cut the graph behind the affine map of every layer, in front of its normalisation.

    Yields:
        The affine maps in the order in which they run, each with its output, whose graph ends at
        that map. The list is filled within the context.
    """
    outputs: list[tuple[Affine, Tensor]] = []

    def detach(affine: Any, args: Any, u: Tensor) -> Tensor:
        outputs.append((affine, u))
        return u.detach()

    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.affine.register_forward_hook(detach).remove)
        yield outputs
