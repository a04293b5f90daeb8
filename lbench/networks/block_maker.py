"""Blocks made from the nodes of a module's forward pass."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, fx, nn

from lbench.errors import UsageError
from lbench.layer import Layer
from lbench.networks.activations import activation_of
from lbench.networks.division import COMMUTING, MEANS, RESHAPING, Division, label
from lbench.networks.program import Call, ModuleBlock, Program, Value

OUT_OF_PLACE: Mapping[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


class BlockMaker:
    """Makes blocks of a division; a map that is called several times has one layer.

    Args:
        division: the division.
    """

    def __init__(self, division: Division) -> None:
        self.division = division
        self.graph = division.graph
        self._layer_of: dict[str, Layer] = {}
        self._replaced: dict[fx.Node, fx.Node] = {}

    def block(
        self, path: str, source: fx.Node, nodes: Sequence[fx.Node], dropout: float
    ) -> ModuleBlock:
        """Return a block: the nodes up to its last layer, the activation, and the nodes behind.

        Raises:
            UsageError: it has no layer, or its end cannot be split like this.
        """
        graph = self.graph
        calls = [node for node in nodes if node in graph.layers]
        if not calls:
            raise UsageError(
                f"Block {path!r} has no linear map or convolution.",
                "Join it with the next block: name only the module behind which both end.",
            )
        z = calls[-1]
        position = nodes.index(z)
        before, behind = nodes[: position + 1], list(nodes[position + 1 :])
        available = {z}
        for node in behind:
            if not set(graph.inputs(node)) <= available:
                raise UsageError(
                    f"Behind its last layer {graph.layers[z].affine!r}, block {path!r} combines "
                    f"several values ({label(node)}), so that its activation cannot be split off.",
                    "A block may end in a sum with a shortcut in front of its activation, and "
                    "behind the activation with operations on one tensor.",
                )
            available.add(node)
        behind = self._without_activation(path, behind)
        layers, helpers = self._layers(calls), self._helpers([*before[:-1], *behind])
        indices = {layer.name: index for index, layer in enumerate(layers)}
        indices |= {name: len(layers) + index for index, name in enumerate(helpers)}
        return ModuleBlock(
            layers,
            list(helpers.values()),
            before=self._program(source, before, z, indices),
            activation=self.division.activation or _identity,
            behind=self._program(z, behind, behind[-1] if behind else z, indices),
            dropout=dropout,
        )

    def _without_activation(self, path: str, behind: list[fx.Node]) -> list[fx.Node]:
        """Remove the block's activation from the nodes behind its last layer.

        Raises:
            UsageError: operations stand in front of the activation that do not commute with it.
        """
        tensors = [node for node in behind if self.graph.is_tensor(node)]
        for node in tensors:
            if activation := activation_of(node, self.graph.modules):
                front = tensors[: tensors.index(node)]
                pooled = [n for n in front if not self.division.is_one_of(n, RESHAPING)]
                if pooled and not (activation.monotone and activation == self.division.activation):
                    raise UsageError(
                        f"In block {path!r}, {label(pooled[0])} stands in front of {activation}, "
                        "with which it cannot be exchanged.",
                        "Put the activation directly behind the layer.",
                    )
                self._replaced = {node: node.all_input_nodes[0]}
                return [other for other in behind if other is not node]
            if not self.division.is_one_of(
                node, COMMUTING if self.division.activation else (*COMMUTING, *MEANS)
            ):
                raise UsageError(
                    f"In block {path!r}, {label(node)} stands behind the last layer, where an "
                    "activation is expected.",
                    "Put an activation of torch.nn directly behind the layer.",
                )
        self._replaced = {}
        return behind

    def _layers(self, calls: Sequence[fx.Node]) -> list[Layer]:
        """Return the layers of these calls, each once; the last one is that of the last call."""
        graph = self.graph
        names = [graph.layers[node].affine for node in calls]
        for node in calls:
            call = graph.layers[node]
            if call.affine not in self._layer_of:
                affine: Any = graph.modules[call.affine]
                norm = graph.modules[call.norm] if call.norm else None
                self._layer_of[call.affine] = Layer(call.affine, affine, norm)
        return [self._layer_of[name] for name in reversed(dict.fromkeys(reversed(names)))]

    def _helpers(self, nodes: Sequence[fx.Node]) -> dict[str, nn.Module]:
        """Return the modules that are called at nodes, by name; none writes into its input."""
        helpers = {
            str(node.target): self.graph.modules[str(node.target)]
            for node in nodes
            if node.op == "call_module" and node not in self.graph.layers
        }
        for helper in helpers.values():
            if hasattr(helper, "inplace"):
                helper.inplace = False
        return helpers

    def _program(
        self, source: fx.Node, nodes: Sequence[fx.Node], result: fx.Node, indices: Mapping[str, int]
    ) -> Program:
        """Return the calls of nodes, which free each value behind its last use."""
        replaced = self._replaced if source in self.graph.layers else {}

        def value(node: fx.Node) -> Any:
            while node in replaced:
                node = replaced[node]
            return Value(node.name)

        last_use: dict[str, int] = {}
        for index, node in enumerate(nodes):
            for read in self.graph.inputs(node):
                last_use[value(read).name] = index
        calls = []
        for index, node in enumerate(nodes):
            unused = tuple(name for name, last in last_use.items() if last == index)
            target, args, kwargs = self._call(node, indices)
            calls.append(
                Call(
                    node.name,
                    target,
                    fx.node.map_arg(args, value),
                    fx.node.map_arg(kwargs, value),
                    tuple(name for name in unused if name != result.name),
                )
            )
        return Program(source.name, tuple(calls), result.name)

    def _call(self, node: fx.Node, indices: Mapping[str, int]) -> tuple[Any, Any, Any]:
        """Return what a node calls, out of place, with its arguments."""
        if node in self.graph.layers:
            layer = self.graph.layers[node]
            return indices[layer.affine], (layer.source, layer.shortcut), {}
        if node.op == "call_module":
            return indices[str(node.target)], node.args, node.kwargs
        if activation := activation_of(node, self.graph.modules):
            return activation, node.args[:1], {}
        target: Any = OUT_OF_PLACE.get(node.target, node.target)
        if node.op == "call_method" and target.endswith("_") and not target.endswith("__"):
            target = target.removesuffix("_")
        return target, node.args, node.kwargs


def _identity(z: Tensor) -> Tensor:
    return z
