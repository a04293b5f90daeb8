"""Program: calls of functions and modules in a fixed order, and the block that runs two of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from lbench.layer import Layer
from lbench.network import Block
from lbench.step import Step


@dataclass(frozen=True)
class Value:
    """A placeholder for an earlier value in the arguments of a call.

    Args:
        name: the name of the value.
    """

    name: str


@dataclass(frozen=True)
class Call:
    """A call whose result is a value.

    Args:
        name: the name of the result.
        target: a function, the name of a method of the first argument, or the index of a module.
        args: positional arguments, with a :class:`Value` for each earlier value.
        kwargs: arguments by name.
        unused: names of values that no later call needs.
    """

    name: str
    target: Callable[..., Any] | str | int
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """Calls that map one value to another.

    Args:
        source: the name of the value that it gets.
        calls: the calls, in order.
        result: the name of the value that it returns.
    """

    source: str
    calls: tuple[Call, ...]
    result: str

    def run(self, x: Tensor, modules: Sequence[nn.Module]) -> Tensor:
        """Return the result for the value ``x``; calls of modules take them from ``modules``."""
        values: dict[str, Any] = {self.source: x}
        for call in self.calls:
            args = _filled(call.args, values)
            kwargs = _filled(call.kwargs, values)
            if isinstance(call.target, int):
                values[call.name] = modules[call.target](*args, **kwargs)
            elif isinstance(call.target, str):
                owner, *rest = args
                values[call.name] = getattr(owner, call.target)(*rest, **kwargs)
            else:
                values[call.name] = call.target(*args, **kwargs)
            for name in call.unused:
                del values[name]
        return cast(Tensor, values[self.result])


def _filled(argument: Any, values: Mapping[str, Any]) -> Any:
    """Return an argument with the values in place of their names."""
    if isinstance(argument, Value):
        return values[argument.name]
    if isinstance(argument, (tuple, list)):
        return type(argument)(_filled(part, values) for part in argument)
    if isinstance(argument, Mapping):
        return {name: _filled(part, values) for name, part in argument.items()}
    if isinstance(argument, slice):
        parts = (argument.start, argument.stop, argument.step)
        return slice(*(_filled(part, values) for part in parts))
    return argument


class ModuleBlock(Block):
    """A part of a module's forward pass, as a block.

    Args:
        layers: its layers in the order in which they act.
        helpers: the modules without trained parameters, such as pooling.
        before: maps the input to z; its modules are the layers, then the helpers.
        activation: the activation.
        behind: maps h to the next block's input; its modules are the same.
        dropout: share of activations that is set to 0 in training, in front of ``behind``.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        helpers: Sequence[nn.Module],
        *,
        before: Program,
        activation: Callable[[Tensor], Tensor],
        behind: Program,
        dropout: float = 0.0,
    ) -> None:
        *inner, last = layers
        super().__init__(last, dropout=dropout)
        self.inner = nn.ModuleList(inner)
        self.helpers = nn.ModuleList(helpers)
        self.before = before
        self.activation = activation
        self.behind = behind

    @property
    def layers(self) -> list[Layer]:
        """Return the layers, in the order in which they act."""
        return [*cast("list[Layer]", list(self.inner)), self.layer]

    def _modules_of_calls(self) -> list[nn.Module]:
        return [*self.inner, self.layer, *self.helpers]

    def preactivation(self, x: Tensor, s: Step | None = None) -> Tensor:
        """Return the last layer's z, which includes a shortcut that ends there."""
        return self.before.run(x, self._modules_of_calls())

    def activate(self, z: Tensor) -> Tensor:
        """Return the activation of z."""
        return self.activation(z)

    def emit(self, h: Tensor, s: Step | None = None) -> Tensor:
        """Return the next block's input: what the module does behind the activation."""
        return self.behind.run(self.drop(h, s), self._modules_of_calls())
