"""Floating-point operations in matrix products and convolutions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class StepFlops:
    """The largest number of operations of the training steps that were watched.

    A multiplication and an addition count as two. Elementwise work, normalisation and the
    optimizer are not counted: in networks they are small beside the products.
    """

    def __init__(self, flops: float | None = None) -> None:
        self.flops = flops

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Count what is done inside: a step with the rule's ``after_step``."""
        products = Products()
        with products:
            yield
        self.flops = max(self.flops or 0.0, float(products.flops))


class Products(TorchDispatchMode):
    """Adds up what PyTorch's formulas give for each product.

    PyTorch's own counter follows modules with hooks, which a rule that asks for several gradients
    of one graph runs into.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # PyTorch would import its compiler, half a second or more, to keep it from this method.
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func._overloadpacket)) is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=made)
        return made
