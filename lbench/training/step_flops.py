"""Floating-point operations in matrix products and convolutions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch.utils.flop_counter import flop_registry

from lbench.training.dispatch import DispatchMode


class StepFlops:
    """The floating-point operations of a training step, the largest of the measured steps.

    A multiplication and an addition count as two operations. Elementwise work, normalisation and
    the optimizer are not counted: they are small compared with the products.
    """

    def __init__(self, flops: float | None = None) -> None:
        self.flops = flops

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Count the operations of the step that runs inside, with the rule's ``after_step``."""
        products = Products()
        with products:
            yield
        self.flops = max(self.flops or 0.0, float(products.flops))


class Products(DispatchMode):  # type: ignore[no-untyped-call]
    """The sum of the operations that PyTorch's formulas give for each product.

    PyTorch's own counter follows modules with hooks, which fail for a rule that computes several
    gradients of one graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

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
