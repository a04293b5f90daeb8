"""The audit of a configuration: the worst of the values measured in its runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

WORSE: dict[str, tuple[Any, ...]] = {
    "bp_free": (True, False),
    "transport": ("none", "scalar", "sign", "full"),
    "update_locked": (False, True),
    "global_error": ("none", "scalar", "vector"),
    "couples": ("none", "mean", "rows"),
    "writes": ("own", "shared", "foreign"),
    "prediction": ("clean", "leaks"),
    "randomness": ("addressed", "global"),
}
"""Values from good to bad; of backward depths the larger is worse, and "full" is the worst."""


def worst(audits: Iterable[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """Combine the audits of several runs of a configuration; None if none was audited."""
    present = [audit for audit in audits if audit]
    if not present:
        return None
    names = dict.fromkeys(name for audit in present for name in audit)
    return {
        name: {
            "claimed": next(_values(present, name, "claimed"), None),
            "measured": max(
                _values(present, name, "measured"), key=lambda v: _badness(name, v), default=None
            ),
        }
        for name in names
    }


def all_contradictions(contradictions: Iterable[Iterable[str]]) -> list[str]:
    """Return the contradictions of several runs, each once."""
    return list(dict.fromkeys(text for texts in contradictions for text in texts))


def _values(audits: Iterable[Mapping[str, Any]], name: str, which: str) -> Any:
    values = (audit.get(name, {}).get(which) for audit in audits)
    return (value for value in values if value is not None)


def _badness(name: str, value: Any) -> float:
    if name == "backward_depth":
        return float("inf") if value == "full" else value
    order = WORSE.get(name, ())
    return order.index(value) if value in order else len(order)
