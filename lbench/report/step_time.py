"""A step time in a table, with a mark if other processes used the cores."""

from __future__ import annotations

from lbench.output.table import decimal
from lbench.training.pace import BUSY

MARK = "†"
BUSY_NOTE = (
    f"{MARK} Other processes wanted the cores: a run had a core for less than {100 * BUSY:.0f} % "
    "of its training time, so its step may take less time than this."
)


def busy(core_share: float | None) -> bool:
    """Return whether a run shared its cores; False where that is not known."""
    return core_share is not None and core_share < BUSY


def step_time(milliseconds: float | None, core_share: float | None) -> str:
    """Return ``2.49``, or ``2.49†`` where other work wanted the cores; a dash for None."""
    return decimal(milliseconds) + (MARK if milliseconds is not None and busy(core_share) else "")
