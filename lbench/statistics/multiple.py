"""Adjustment of p-values where several tests are made."""

from __future__ import annotations

from collections.abc import Sequence

LEVEL = 0.05
"""Significance level of every test and, with adjustment, of every family of tests."""


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted by Holm (1979, Scandinavian Journal of Statistics 6, 65-70).

    If hypotheses with an adjusted p of at most 0.05 are rejected, the probability of rejecting
    any true hypothesis of the family is at most 5 %, for any number of tests and any dependence
    between them.

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
