"""Values of measured quantities as texts of tables."""

from __future__ import annotations

from collections.abc import Mapping

from lbench.output.table import decimal, mega
from lbench.quantities import Quantity
from lbench.report.step_time import step_time


def quantity_text(quantity: Quantity, values: Mapping[str, float | None]) -> str:
    """Return a value without its unit; a dash for None.

    Args:
        quantity: its unit is ``table_unit``.
        values: values of this and other quantities by name. With ``core_share`` among them, a step
            time is marked if other processes used the cores.
    """
    value = values[quantity.name]
    if quantity.name == "step_ms":
        return step_time(value, values["core_share"])
    return mega(value) if quantity.unit == "FLOP" else decimal(value)
