"""Division of a module's forward pass into blocks, by the modules behind which they end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from lbench.errors import UsageError, unknown
from lbench.networks.activations import Activation, activation_of
from lbench.networks.layered_graph import DROPOUTS, LayeredGraph, is_affine

RESHAPING: tuple[Any, ...] = (
    nn.Identity, nn.Flatten, *DROPOUTS, F.dropout, F.dropout2d, torch.flatten, torch.reshape,
    torch.squeeze, "flatten", "reshape", "view", "squeeze", "contiguous",
)  # fmt: skip
"""Operations that can be exchanged with any elementwise activation behind them."""
COMMUTING: tuple[Any, ...] = (
    *RESHAPING, nn.MaxPool2d, nn.AdaptiveMaxPool2d, F.max_pool2d, F.adaptive_max_pool2d,
    torch.max_pool2d,
)  # fmt: skip
"""Operations that can be exchanged with a monotone elementwise activation behind them."""
MEANS: tuple[Any, ...] = (
    nn.AvgPool2d, nn.AdaptiveAvgPool2d, F.avg_pool2d, F.adaptive_avg_pool2d, torch.mean, "mean",
)  # fmt: skip
"""Further operations that a block without an activation may end with."""


class Division:
    """The blocks of a graph, each a sequence of nodes behind the block in front of it.

    Args:
        graph: the graph.
        blocks: names of the modules behind which blocks end.
        readout: the name of the readout.

    Attributes:
        sources: the node that each block reads.
        members: the nodes of each block, in order.
        activation: the activation behind every layer; None for none.
        readout: the readout.

    Raises:
        UsageError: a name is wrong, the blocks do not follow one behind the other, or layers have
            different activations.
    """

    def __init__(self, graph: LayeredGraph, blocks: Sequence[str], readout: str) -> None:
        self.graph = graph
        linear = graph.modules[self._known(readout)]
        node = graph.output_of(readout)
        if not is_affine(linear) or not isinstance(linear, nn.Linear):
            raise UsageError(
                f"The readout {readout!r} is a {type(linear).__name__}, not a linear map.",
                "Name the last nn.Linear of the module.",
            )
        if node is None or graph.inputs(graph.output) != [node]:
            raise UsageError(
                f"The output of forward is not the output of the readout {readout!r}.",
                "forward must end with the readout, without softmax, and return its logits.",
            )
        self.readout, self._readout_node = linear, node
        call = graph.layers.pop(node)
        if call.norm or call.shortcut is not None:
            raise UsageError(
                f"The output of the readout {readout!r} is normalised, or added to another one.",
                "The readout is the last step of forward.",
            )
        if not blocks:
            raise UsageError("The network has no blocks.", "Name one module for each block.")
        ends = [self._end(self._known(path)) for path in blocks]
        self.sources = [graph.source, *ends[:-1]]
        self.members = [
            self._members(f"Block {path!r}", source, end)
            for path, source, end in zip(blocks, self.sources, ends, strict=True)
        ]
        between = self._members(f"The readout {readout!r}", ends[-1], node)
        if between != [node]:
            raise UsageError(
                f"Between the last block and the readout stands {label(between[0])}.",
                "Name the module that has it as the last block.",
            )
        self.activation: Activation | None = None
        self._check_activations()

    def _known(self, path: str) -> str:
        if path not in self.graph.modules:
            names = self.graph.called_once()
            raise unknown("module", path, names, listing="Names are those of named_modules().")
        return path

    def _end(self, path: str) -> fx.Node:
        """Return the last node of the block of a module.

        Raises:
            UsageError: the module's output is not one tensor that forward uses.
        """
        graph, node = self.graph, self.graph.output_of(path)
        if node is None:
            raise UsageError(
                f"The output of module {path!r} is not one tensor that the logits depend on.",
                "Name another module for this block.",
            )
        while True:
            sizes = self._sizes(node)
            users = {user for n in (node, *sizes) for user in graph.users[n]} - set(sizes)
            if len(users) != 1:
                return node
            (behind,) = users
            fits = set(graph.inputs(behind)) <= {node, *sizes} and graph.is_tensor(behind)
            if behind in graph.layers or behind is self._readout_node or not fits:
                return node
            node = behind

    def _sizes(self, node: fx.Node) -> list[fx.Node]:
        """Return the nodes that compute numbers from the shape of a node's value."""
        sizes: list[fx.Node] = []
        for later in self.graph.nodes:
            fits = set(self.graph.inputs(later)) <= {node, *sizes}
            if fits and not self.graph.is_tensor(later) and later.all_input_nodes:
                sizes.append(later)
        return sizes

    def _members(self, what: str, source: fx.Node, end: fx.Node) -> list[fx.Node]:
        """Return the nodes behind ``source`` that ``end`` depends on, in order.

        Raises:
            UsageError: there are others that it depends on, or none.
        """
        reached, left = {end}, [end]
        while left:
            for node in self.graph.inputs(left.pop()):
                if node is not source and node not in reached:
                    reached.add(node)
                    left.append(node)
        earlier = [node for node in reached if node.op == "placeholder"]
        if earlier or end is source:
            raise UsageError(
                f"{what} does not read the output of the block in front of it alone.",
                "Name blocks in the order of forward, none twice, and none that a shortcut "
                "passes by.",
            )
        return [node for node in self.graph.nodes if node in reached]

    def _check_activations(self) -> None:
        """Check that one activation follows every layer, and set it.

        A layer whose output is a shortcut, as in a projection, has none of its own.

        Raises:
            UsageError: activations differ, or a layer has none where others have one.
        """
        graph, first = self.graph, ""
        for node in (node for nodes in self.members for node in nodes if node in graph.layers):
            shortcuts = [u for u in graph.users[node] if u in graph.layers
                         and graph.layers[u].shortcut is node]  # fmt: skip
            if graph.users[node] and len(shortcuts) == len(graph.users[node]):
                continue
            activations = {self._activation_behind(user) for user in self._tensor_users(node)}
            name = graph.layers[node].affine
            if len(activations) != 1:
                raise UsageError(
                    f"The output of layer {name!r} is used both with and without an activation.",
                    "Blocks have one activation behind each layer.",
                )
            (activation,) = activations
            if first and activation != self.activation:
                raise UsageError(
                    f"Layer {name!r} has {activation or 'no activation'} behind it, but layer "
                    f"{first!r} has {self.activation or 'none'}.",
                    "The same activation must follow every layer of the network.",
                )
            first, self.activation = name, activation

    def _tensor_users(self, node: fx.Node) -> list[fx.Node]:
        return [user for user in self.graph.users[node] if self.graph.is_tensor(user)]

    def _activation_behind(self, node: fx.Node) -> Activation | None:
        """Return the activation at a node or, behind operations that commute with it, later."""
        while True:
            if node in self.graph.layers:
                return None
            if activation := activation_of(node, self.graph.modules):
                return activation
            users = self._tensor_users(node)
            if not self.is_one_of(node, COMMUTING) or len(users) != 1:
                return None
            (node,) = users

    def is_one_of(self, node: fx.Node, kinds: tuple[Any, ...]) -> bool:
        """Return whether a node calls one of these modules, functions and methods."""
        if node.op == "call_module":
            types = tuple(kind for kind in kinds if isinstance(kind, type))
            return isinstance(self.graph.modules[str(node.target)], types)
        return node.target in kinds


def label(node: fx.Node) -> str:
    """Return what a node calls, for messages."""
    if node.op == "call_module":
        return f"module {str(node.target)!r}"
    return f"the call of {getattr(node.target, '__name__', node.target)}"
