"""Claims and measurements in words, and the audit of a configuration as a text of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lbench.output.table import NONE

WORDS = {
    "bp_free": "BP-free",
    "transport": "weight transport",
    "backward_depth": "backward depth",
    "update_locked": "update-locked",
    "global_error": "global error",
    "couples": "couples examples",
    "writes": "writes",
    "prediction": "prediction",
    "randomness": "randomness",
}
"""The names of the claims in tables."""
UNMEASURED = "not measurable"
CONTRADICTED = "CONTRADICTED"
FULL = "full BP"
"""The text for a rule whose full weights reach from the output to the first layer."""
SAID = ("bp_free", "backward_depth", "update_locked")


def short(audit: Mapping[str, Any] | None, contradictions: Sequence[str]) -> str:
    """Return ``BP-free``, ``depth 1`` or ``full BP``; a dash where there was no audit.

    Without a measured depth it is ``not BP-free`` or ``not measurable``.
    """
    if contradictions:
        return CONTRADICTED
    depth, bp_free = claim_value(audit, "backward_depth"), claim_value(audit, "bp_free")
    if bp_free:
        return WORDS["bp_free"]
    if depth is None and bp_free is not None:
        return _claim("bp_free", bp_free)
    if depth is None:
        return UNMEASURED if unmeasured(audit) else NONE
    if depth == "full" and claim_value(audit, "transport") == "full":
        return FULL
    return f"depth {depth}"


def lines(audit: Mapping[str, Any] | None, contradictions: Sequence[str]) -> list[str]:
    """Return ``BP-free, backward depth 0, not update-locked``, or each contradiction.

    Claims that the audit could not measure are named as not measurable.
    """
    if contradictions:
        return [f"{CONTRADICTED}: {text}" for text in contradictions]
    known = {name: claim_value(audit, name) for name in SAID}
    said = [_claim(name, value) for name, value in known.items() if value is not None]
    said += [f"{WORDS[name]} {UNMEASURED}" for name in unmeasured(audit)]
    return [", ".join(said) or NONE]


def unmeasured(audit: Mapping[str, Any] | None) -> list[str]:
    """Return the names of shown claims that an audit could not measure."""
    entries = audit or {}
    if all(entry.get("measured") is None for entry in entries.values()):
        return []  # there was no audit, as for a trial, which has no full one
    return [n for n in SAID if n in entries and entries[n].get("measured") is None]


def claim_value(audit: Mapping[str, Any] | None, name: str) -> Any:
    """Return the value of a claim: the claimed one where it was measured, else the measured one.

    Regrouped blocks may have another depth on the small network of the audit than on the
    configuration's own, so the claim is the better number where nothing contradicts it.
    """
    entry = (audit or {}).get(name) or {}
    measured, claimed = entry.get("measured"), entry.get("claimed")
    return measured if measured is None or claimed is None else claimed


def _claim(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return WORDS[name] if value else f"not {WORDS[name]}"
    return f"{WORDS[name]} {value}"


def say(value: Any) -> str:
    """Return a claim or a measurement in a word."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NONE if value is None else str(value)
