"""pepita: the output error modulates the input of a second forward pass."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.layer import Layer, cut
from lbench.network import Block, Chain, Network
from lbench.networks.norm import statistics_held
from lbench.recipe import Recipe
from lbench.rule import GradientRule, Grads, differentiate
from lbench.step import Step
from lbench.task import Batch


class Pepita(GradientRule):
    """The change of each layer between x and x' = x + F e, times its input in the second pass.

    With e = p - e_t of the first pass, a prime for the second pass and h_0 = x (Dellaferrera &
    Kreiman 2022, arXiv:2201.11665, Algorithm 1), dW_l = (h_l - h'_l) h'_{l-1}^T, and
    (p' - e_t) h'_L^T for the readout. As in the released code, h is taken behind dropout, and the
    gradients are means over the batch and over the positions where a weight is used.
    """

    class Config(RuleConfig):
        """Options of pepita."""

        scale: float = param(
            0.05, low=0.0, high=10.0, help="Factor on F, which is He-uniform over the inputs"
        )

    config: Pepita.Config

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(
            transport="none",
            backward_depth=0,
            update_locked=True,
            global_error="vector",
            couples=network.couples,
        )

    @classmethod
    def recipe(cls, default: Recipe, dataset: str, network: str) -> Recipe:
        """Return the paper's momentum and batch size, and its learning rates, 0.1 and 0.01.

        The rate is 0.1 on fully connected networks, and 0.01 on others, where Adam or 0.1 fail.
        """
        lr = 0.1 if network.startswith("mlp") else 0.01
        batch = min(default.batch, 64)
        changes = {"optimizer": "sgd", "momentum": 0.9, "lr": lr, "batch": batch}
        return default.model_copy(update=changes)

    def build(self, init: Init) -> None:
        inputs = math.prod(self.task.shape)
        bound = self.config.scale * math.sqrt(6 / inputs)
        f = init.uniform("feedback/input", (self.task.classes, inputs), bound)
        self.feedback = nn.Parameter(f, requires_grad=False)

    def gradients(self, batch: Batch, s: Step) -> Grads:
        with torch.no_grad():
            first, logits = self.walk(batch.x, s)
        loss, output_error = self.task.output_error(logits, batch.target)
        s.log("loss", loss)
        # F e: the factor 1/batch of the mean loss is not part of e.
        change = (output_error * len(output_error)) @ self.feedback
        with statistics_held(self.network):
            second, logits = self.walk(batch.x + change.view_as(batch.x), s)
        _, output_error = self.task.output_error(logits, batch.target)
        contrasts = [contrast(before, after) for before, after in zip(first, second, strict=True)]
        outputs = [*(layer.z for layer in second), logits]
        return differentiate(outputs, self._trained, [*contrasts, output_error])

    def walk(self, x: Tensor, s: Step) -> tuple[list[LayerOutput], Tensor]:
        """Return the outputs of every layer in order, and the logits (batch, classes).

        Both passes of a step drop the same units.
        """
        outputs: list[LayerOutput] = []
        for k, block in enumerate(self.network.blocks):
            with cut(block.layers) as layers:
                x = block(x, s)
            ends = {part.layers[-1].name: part for part in parts(block)}
            for layer, z in layers:
                h = self.activate(k, z.detach())
                outputs.append(
                    LayerOutput(layer, z, ends[layer.name].drop(h, s) if layer.name in ends else h)
                )
        return outputs, self.network.readout(x)


class LayerOutput(NamedTuple):
    """The output of a layer in one forward pass.

    Args:
        layer: the layer.
        z: its preactivation, with a graph to the layer's parameters and nothing else.
        h: its activation behind dropout and in front of pooling.
    """

    layer: Layer
    z: Tensor
    h: Tensor


def parts(block: Block) -> list[Block]:
    """Return the blocks that a chain joins; any other block is its own part."""
    if not isinstance(block, Chain):
        return [block]
    return [part for member in block.parts for part in parts(cast(Block, member))]


def contrast(first: LayerOutput, second: LayerOutput) -> Tensor:
    """Return the cotangent at the second z: h - h', divided by the number of uses of a weight."""
    uses = second.z.numel() // second.layer.width  # over all examples and positions
    return ((first.h - second.h) / uses).to(second.z.dtype)
