"""Uses of trained parameters in a step, and how their outputs are held at old values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack


@dataclass
class Use:
    """One call of a function that combined data with trained parameters.

    Args:
        params: names of all parameters from which its weights were computed.
        matrices: names of those among them that reach an argument of two or more dimensions.
        contracts: whether it sums over features, as matrix products and convolutions do;
            elementwise functions, such as a gain, do not.
        inside: names of the parameters whose own module was being called.
        forward: whether any module of the model was being called.
        target: whether its data were computed from labels, or are a gradient.
        several: whether it applies several matrices one after the other, as an LSTM does.
        groups: number of channel groups of a convolution; otherwise 1.
        before: bit ``k`` is set where its data were computed from the result of use ``k``.
        outputs: the returned values, without graph.
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
        """Return whether its outputs are held when ``params`` are changed.

        Args:
            params: names of the changed parameters.
            outside: whether uses outside of calls of the parameters' own module are held too.
        """
        if params & self.params & self.inside:
            return True
        further = outside and not self.target and (self.contracts or self.forward)
        return further and bool(params & self.params)


class CannotHoldError(Exception):
    """A step used the changed parameters more often than before, or on other shapes."""


@dataclass
class HeldUses:
    """Uses of changed parameters whose outputs are held at those of an undisturbed step.

    Args:
        params: names of the changed parameters.
        uses: all uses of the undisturbed step.
        outside: whether uses outside of calls of the parameters' own module are held too.
    """

    params: frozenset[str]
    uses: Sequence[Use]
    outside: bool
    _remaining: Iterator[Use] = field(init=False)

    def __post_init__(self) -> None:
        self._remaining = (u for u in self.uses if u.holdable(self.params, outside=self.outside))

    def hold(self, use: Use, outputs: Sequence[Tensor]) -> None:
        """Overwrite the outputs in place, below autograd, with those of the undisturbed step.

        Their graph, and their tangents in forward mode, remain those of the changed weights.

        Raises:
            CannotHoldError: the undisturbed step had no such use.
        """
        if not use.holdable(self.params, outside=self.outside):
            return
        before = next(self._remaining, None)
        if before is None or [t.shape for t in before.outputs] != [t.shape for t in outputs]:
            raise CannotHoldError
        with temporarily_clear_interpreter_stack():
            for output, value in zip(outputs, before.outputs, strict=True):
                output.data.copy_(value)
