"""Values of measured quantities as texts of tables."""

from __future__ import annotations

from collections.abc import Mapping

from lbench.output.table import decimal, mega
from lbench.quantities import Quantity
from lbench.training.pace import BUSY

MARK = "†"
BUSY_NOTE = (
    f"{MARK} Other processes wanted the cores: a run had a core for less than {100 * BUSY:.0f} % "
    "of its training time, so its step may take less time than this."
)


def quantity_text(quantity: Quantity, values: Mapping[str, float | None]) -> str:
    """Return a value without its unit; a dash for None.

    Args:
        quantity: its unit is ``table_unit``.
        values: values of this and other quantities by name. With ``core_share`` among them, a step
            time is marked if other processes used the cores: ``2.49†``.
    """
    value = values[quantity.name]
    if quantity.unit == "FLOP":
        return mega(value)
    marked = quantity.name == "step_ms" and value is not None and busy(values["core_share"])
    return decimal(value) + MARK * marked


def busy(core_share: float | None) -> bool:
    """Return whether a run shared its cores; False where that is not known."""
    return core_share is not None and core_share < BUSY
