"""What a rule says of itself; the audit measures the same words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Claims:
    """A rule's claims for one network and one set of options; None means that it claims nothing.

    Args:
        transport: whose transposed weights reach an update: none, a scalar (forward gradients),
            signs, or the full weights.
        backward_depth: the longest chain of layers whose transposed weights reach an update; 0, 1,
            … or "full".
        update_locked: a block cannot update before the blocks above it have run.
        global_error: what of the readout's error reaches the blocks.
        couples: how an example's update depends on the rest of its batch, beyond the mean of
            gradients: none, through means over the batch, or through pairs of rows.
    """

    transport: Literal["none", "scalar", "sign", "full"] | None = None
    backward_depth: int | Literal["full"] | None = None
    update_locked: bool | None = None
    global_error: Literal["none", "scalar", "vector"] | None = None
    couples: Literal["none", "mean", "rows"] | None = None

    @property
    def bp_free(self) -> bool | None:
        """No weight transport, or a scalar at most, across blocks and inside them."""
        return None if self.transport is None else self.transport in ("none", "scalar")

    def as_dict(self) -> dict[str, Any]:
        """Every claim by name, ``bp_free`` among them."""
        return {"bp_free": self.bp_free, **asdict(self)}
