"""Options of datasets: their description in listings, and a reader for whole numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lbench.errors import UsageError


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a dataset, as ``lbench datasets NAME`` shows it.

    Args:
        name: its name in ``--data NAME=VALUE``.
        default: its default; None for none.
        values: the values that are allowed, in words.
        help: one line that says what the option does.
    """

    name: str
    default: Any
    values: str
    help: str

    def as_dict(self) -> dict[str, Any]:
        """Return every field by name."""
        return asdict(self)


def whole(
    dataset: str, option: str, value: object, low: int, high: int | None, example: int
) -> int:
    """Read a whole number from text or a number.

    Raises:
        UsageError: the value is no whole number, or not from ``low`` to ``high`` (None: no limit).
    """
    number = None
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            number = int(value)
        except ValueError:
            number = None
    if number is None or number < low or (high is not None and number > high):
        limits = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise UsageError(
            f"The option {option} of dataset {dataset} must be a whole number {limits}, "
            f"got {value!r}.",
            f"An example: {option}={example}.",
        )
    return number
