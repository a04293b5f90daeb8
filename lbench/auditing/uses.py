"""Uses of trained parameters in a step, and holding what comes out of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack


@dataclass
class Use:
    """One call of a function that combined data with trained parameters.

    Args:
        params: names of all parameters that its weights were computed from.
        matrices: of these, those behind an argument of two or more dimensions.
        contracts: whether it sums over features, as matrix products and convolutions do; what
            acts on each element, such as a gain, does not.
        inside: names of those whose own module was being called.
        forward: whether any module of the model was being called.
        target: whether its data were computed from labels or are a gradient.
        several: whether it applies several matrices one after the other, as an LSTM does.
        groups: of channels, of a convolution.
        before: bit ``k`` is set where use ``k`` is among what its data were computed from.
        outputs: its values, without graph.
    """

    params: frozenset[str]
    matrices: frozenset[str]
    contracts: bool
    inside: frozenset[str]
    forward: bool
    target: bool
    several: bool
    groups: int
    before: int
    outputs: list[Tensor]

    def holdable(self, params: frozenset[str], *, outside: bool) -> bool:
        """Whether its outputs are held when ``params`` are changed.

        Args:
            outside: whether uses outside of the call of the parameters' own module are held too.
        """
        if params & self.params & self.inside:
            return True
        further = outside and not self.target and (self.contracts or self.forward)
        return further and bool(params & self.params)


class CannotHoldError(Exception):
    """A step used the changed parameters more often than before, or on other shapes."""


@dataclass
class HeldUses:
    """Changed parameters whose uses give what they gave in an undisturbed step.

    Args:
        params: names of the changed parameters.
        uses: all of the undisturbed step.
        outside: as of ``Use.holdable``.
    """

    params: frozenset[str]
    uses: Sequence[Use]
    outside: bool
    _left: Iterator[Use] = field(init=False)

    def __post_init__(self) -> None:
        self._left = (u for u in self.uses if u.holdable(self.params, outside=self.outside))

    def hold(self, use: Use, outputs: Sequence[Tensor]) -> None:
        """Overwrite the outputs in place, below autograd, with those of the undisturbed step.

        Their graph, and their tangents in forward mode, are those of the weights as they are.

        Raises:
            CannotHoldError: there was no such use in the undisturbed step.
        """
        if not use.holdable(self.params, outside=self.outside):
            return
        before = next(self._left, None)
        if before is None or [t.shape for t in before.outputs] != [t.shape for t in outputs]:
            raise CannotHoldError
        with temporarily_clear_interpreter_stack():
            for output, value in zip(outputs, before.outputs, strict=True):
                output.data.copy_(value)
