"""Claims: properties that a rule declares, and that the audit measures under the same names."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Claims:
    """A rule's claims for one network and one set of options; None stands for no claim.

    Args:
        transport: the part of the transposed weights that reaches updates of earlier maps: none, a
            scalar per example (forward gradients), their signs, or the full weights.
        backward_depth: the length of the longest chain of layers whose transposed weights reach an
            update; 0, 1, … or "full".
        update_locked: whether a block cannot update before the blocks above it have run.
        global_error: the part of the readout's error that reaches the blocks.
        couples: how an example's update depends on the other examples of its batch, beyond the
            mean of gradients: not at all, through means over the batch, or through pairs of rows.
    """

    transport: Literal["none", "scalar", "sign", "full"] | None = None
    backward_depth: int | Literal["full"] | None = None
    update_locked: bool | None = None
    global_error: Literal["none", "scalar", "vector"] | None = None
    couples: Literal["none", "mean", "rows"] | None = None

    @property
    def bp_free(self) -> bool | None:
        """Return whether at most a scalar of weights is transported, across and inside blocks."""
        return None if self.transport is None else self.transport in ("none", "scalar")

    def as_dict(self) -> dict[str, Any]:
        """Return every claim by name, and ``bp_free``."""
        return {"bp_free": self.bp_free, **asdict(self)}
