"""The graph of a module's forward pass, with each affine map and its normalisation as one layer."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lbench.errors import UsageError

NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)
ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")
RANDOM = frozenset(
    {
        "rand", "randn", "rand_like", "randn_like", "randint", "randperm", "bernoulli",
        "bernoulli_", "normal", "normal_", "uniform_", "multinomial", "dropout", "dropout1d",
        "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "rrelu",
        "gumbel_softmax",
    }
)  # fmt: skip
"""Functions and methods that draw from PyTorch's global generators."""


class RecordingTracer(fx.Tracer):
    """A tracer that records the output of every call of a module.

    Attributes:
        outputs: the nodes of the outputs by the module's name; None for other than one tensor.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[str, list[fx.Node | None]] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is one node: those of PyTorch, and maps derived from them."""
        return is_affine(m) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Trace the call of a module, and record its output."""
        output = super().call_module(m, forward, args, kwargs)
        node = output.node if isinstance(output, fx.Proxy) else None
        self.outputs.setdefault(self.path_of_module(m), []).append(node)
        return output


class ValueRecorder(fx.Interpreter):
    """Runs a graph and records the shape of each tensor.

    Attributes:
        shapes: the shape by node; nodes with another value than one tensor are left out.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, torch.Size] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run a node."""
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n] = value.shape
        return value


@dataclass
class LayerCall:
    """A call of a layer.

    Args:
        affine: the name of the affine map in the module.
        norm: the name of the normalisation behind it; "" for none.
        source: its input.
        shortcut: what is added to its output; None for nothing.
        depth: number of layers on the longest path to its output.
    """

    affine: str
    norm: str
    source: fx.Node
    shortcut: fx.Node | None = None
    depth: int = 0


class LayeredGraph:
    """The forward pass of a module on an example, with its layers.

    Args:
        module: the module, in evaluation mode.
        example: a batch of inputs.

    Attributes:
        modules: the modules by name.
        nodes: the nodes that the output depends on, in order, without those inside of layers.
        layers: the calls of layers by the node of their output.
        users: the nodes that read a node's value.

    Raises:
        UsageError: the forward pass cannot be traced, or has parts that no layer can have.
    """

    def __init__(self, module: nn.Module, example: Tensor) -> None:
        self.modules = dict(module.named_modules())
        self.graph, self._outputs = _traced(module)
        recorder = ValueRecorder(fx.GraphModule(module, self.graph))
        recorder.run(example)
        self.shapes = recorder.shapes
        (self.output,) = (node for node in self.graph.nodes if node.op == "output")
        (self.source,) = (node for node in self.graph.nodes if node.op == "placeholder")
        alive = self._alive()
        self.layers: dict[fx.Node, LayerCall] = {}
        self._inside: dict[fx.Node, fx.Node] = {}
        self._find_layers(alive)
        self._add_shortcuts(alive)
        self.nodes = [node for node in alive if node not in self._inside]
        self.users: dict[fx.Node, list[fx.Node]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            for source in self.inputs(node):
                self.users[source].append(node)

    def _alive(self) -> list[fx.Node]:
        """Return the nodes that the output depends on, in order; check each of them."""
        reached, left = {self.output}, [self.output]
        while left:
            for node in left.pop().all_input_nodes:
                if node not in reached:
                    reached.add(node)
                    left.append(node)
        reached.add(self.source)
        alive = [node for node in self.graph.nodes if node in reached]
        for node in alive:
            self._check(node)
        return alive

    def _check(self, node: fx.Node) -> None:
        """Check that a node can be part of a block.

        Raises:
            UsageError: it has parameters of another kind than a layer has, or draws numbers.
        """
        if node.op == "get_attr":
            raise UsageError(
                f"forward uses the tensor {str(node.target)!r} by itself, outside of a module.",
                "Blocks have linear maps, 2-D convolutions and the normalisations behind them; "
                "write what the tensor does as one of these.",
            )
        if node.op == "call_module":
            self._check_module(str(node.target), node)
            return
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        if name in RANDOM and not ("dropout" in name and _p(node) == 0):
            raise UsageError(
                f"forward calls {name}, which draws random numbers.",
                "Take it out; the recipe's dropout (--dropout) is applied behind each block.",
            )

    def _check_module(self, path: str, node: fx.Node) -> None:
        module = self.modules[path]
        if isinstance(module, DROPOUTS) and module.p > 0:
            raise UsageError(
                f"Module {path!r} is a dropout with p={module.p:g}, which draws random numbers.",
                "Make the module with a dropout of 0; the recipe's dropout (--dropout) is applied "
                "behind each block.",
            )
        if is_affine(module):
            _check_affine(path, module, len(self.shapes[node.all_input_nodes[0]]))
        elif not isinstance(module, NORMS) and any(True for _ in module.parameters()):
            raise UsageError(
                f"Module {path!r} is a {type(module).__name__} with trained parameters, which no "
                "layer can have.",
                "Blocks have linear maps, 2-D convolutions and the normalisations behind them.",
            )

    def _find_layers(self, alive: list[fx.Node]) -> None:
        """Make each affine map a layer, with the normalisation that alone reads its output.

        Raises:
            UsageError: a normalisation with trained parameters is elsewhere, or maps share one.
        """
        norm_of: dict[str, str] = {}
        for node in alive:
            if node.op != "call_module" or not is_affine(self.modules[str(node.target)]):
                continue
            path, norm, last = str(node.target), "", node
            (source,) = node.all_input_nodes
            users = [user for user in node.users if user in alive]
            if len(users) == 1 and users[0].op == "call_module" and users[0].args == (node,):
                behind = str(users[0].target)
                if isinstance(self.modules[behind], NORMS):
                    norm, last = behind, users[0]
                    self._inside[node] = last
            if norm_of.setdefault(path, norm) != norm:
                raise UsageError(
                    f"Module {path!r} is called twice, with another normalisation behind it.",
                    "Use a module of its own for each call.",
                )
            self.layers[last] = LayerCall(path, norm, source)
        norms = [norm for norm in norm_of.values() if norm]
        for node in alive:
            path = str(node.target)
            if node.op != "call_module" or not isinstance(self.modules[path], NORMS):
                continue
            trained = any(True for _ in self.modules[path].parameters())
            if trained and (node not in self.layers or norms.count(path) > 1):
                raise UsageError(
                    f"The normalisation {path!r} does not stand directly behind one linear map or "
                    "convolution, so that no layer can have its parameters.",
                    "Put it behind the map, or make it without parameters (affine=False).",
                )

    def _add_shortcuts(self, alive: list[fx.Node]) -> None:
        """Make a sum part of the layer that ends in it: of the deeper one where both do."""
        depth: dict[fx.Node, int] = {}
        for node in alive:
            below = max((depth[source] for source in node.all_input_nodes), default=0)
            depth[node] = below + (node in self.layers)
            if node in self.layers:
                self.layers[node].depth = depth[node]
            if node.op == "call_module" or node.target not in ADDITIONS or node.kwargs:
                continue
            if len(node.args) != 2 or len(node.all_input_nodes) != 2:
                continue
            shapes = {self.shapes.get(source) for source in node.all_input_nodes}
            ending = [
                source
                for source in node.all_input_nodes
                if source in self.layers
                and self.layers[source].shortcut is None
                and [user for user in source.users if user in alive] == [node]
            ]
            if len(shapes) != 1 or None in shapes or not ending:
                continue
            last = max(reversed(ending), key=lambda source: self.layers[source].depth)
            (other,) = (source for source in node.all_input_nodes if source is not last)
            call = self.layers.pop(last)
            call.shortcut = other
            self.layers[node] = call
            for inside, end in list(self._inside.items()):
                if end is last:
                    self._inside[inside] = node
            self._inside[last] = node

    def inputs(self, node: fx.Node) -> list[fx.Node]:
        """Return the nodes whose values a node reads."""
        if node in self.layers:
            call = self.layers[node]
            return [call.source, *([call.shortcut] if call.shortcut is not None else [])]
        return node.all_input_nodes

    def is_tensor(self, node: fx.Node) -> bool:
        """Return whether the value of a node is one tensor, in place of a shape or a number."""
        return node in self.shapes

    def output_of(self, path: str) -> fx.Node | None:
        """Return the node of the output of a module; None where it is no single tensor.

        Raises:
            UsageError: forward does not call the module once, or does not use its output.
        """
        calls = self._outputs.get(path, [])
        if len(calls) != 1:
            raise UsageError(
                f"forward calls module {path!r} {len(calls)} times, so that it cannot end a block.",
                "Name a module that forward calls once.",
            )
        node = calls[0]
        while node in self._inside:
            node = self._inside[node]
        return node if node in self.users else None

    def called_once(self) -> list[str]:
        """Return the names of the modules that forward calls once."""
        return [path for path, calls in self._outputs.items() if len(calls) == 1]


def is_affine(module: nn.Module) -> bool:
    """Return whether a module is a linear map or 2-D convolution with PyTorch's own forward."""
    if isinstance(module, nn.Linear):
        return type(module).forward is nn.Linear.forward
    return isinstance(module, nn.Conv2d) and type(module).forward is nn.Conv2d.forward


def _check_affine(path: str, module: nn.Module, dimensions: int) -> None:
    """Check that an affine map can be a layer.

    Raises:
        UsageError: its weight is computed, it pads with other numbers than 0, or it maps tokens.
    """
    if {name for name, _ in module.named_parameters()} - {"weight", "bias"}:
        raise UsageError(
            f"The weight of {path!r} is computed from other parameters.",
            "Make the module without weight normalisation and other parametrisations.",
        )
    if isinstance(module, nn.Conv2d) and (
        module.padding_mode != "zeros" or isinstance(module.padding, str)
    ):
        raise UsageError(
            f"Convolution {path!r} has padding {module.padding!r} of mode {module.padding_mode!r}; "
            "layers are padded with a number of zeros.",
            "Give it padding as numbers, with padding_mode='zeros'.",
        )
    if isinstance(module, nn.Linear) and dimensions != 2:
        raise UsageError(
            f"The linear map {path!r} gets tensors of {dimensions} dimensions, such as tokens; the "
            "linear map of a layer gets (batch, features).",
            "Write it as a 1x1 convolution on (batch, channels, height, width).",
        )


def _traced(module: nn.Module) -> tuple[fx.Graph, Mapping[str, list[fx.Node | None]]]:
    """Trace forward in both modes; return the graph and the outputs of modules.

    Raises:
        UsageError: forward cannot be traced, depends on the mode, or has several inputs.
    """
    texts = []
    for mode in (True, False):
        module.train(mode)
        tracer = RecordingTracer()
        try:
            graph = tracer.trace(module)
        except Exception as error:
            raise UsageError(
                f"forward of {type(module).__name__} cannot be traced: {error}",
                "Its steps must not depend on values or shapes of tensors.",
            ) from error
        texts.append(str(graph))
    if texts[0] != texts[1]:
        raise UsageError(
            f"forward of {type(module).__name__} has other steps in training than in evaluation.",
            "Only its modules, such as BatchNorm, may depend on the mode.",
        )
    if sum(node.op == "placeholder" for node in graph.nodes) != 1:
        raise UsageError(
            f"forward of {type(module).__name__} has several inputs.", "Give it one: the images."
        )
    return graph, tracer.outputs


def _p(node: fx.Node) -> Any:
    """Return the share of dropout that a call gets."""
    return node.kwargs.get("p", node.args[1] if len(node.args) > 1 else 0.5)
