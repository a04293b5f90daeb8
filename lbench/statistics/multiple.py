"""Several tests at once."""

from __future__ import annotations

from collections.abc import Sequence

LEVEL = 0.05
"""Of every test and, adjusted, of every family of tests: how often a true hypothesis may fall."""


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values (1979, Scandinavian Journal of Statistics 6, 65-70).

    Rejecting those that are at most 0.05 rejects a true hypothesis of the family in at most
    5 % of all cases, however the tests depend on each other and however many there are.

    Args:
        values: p-values; None for a test that was not made, which stays None and is not counted.

    Raises:
        ValueError: a value is not from 0 to 1, or NaN.
    """
    for value in values:
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"A p-value must be from 0 to 1, but got {value!r}.")
    made = sorted((p, at) for at, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (p, at) in enumerate(made):
        largest = max(largest, min(1.0, (len(made) - rank) * p))
        adjusted[at] = largest
    return adjusted
