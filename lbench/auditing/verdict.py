"""The audit of a run: claims, results of the full audit, and observations of its own steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lbench.auditing.glance import Glance, independent
from lbench.auditing.report import CONDUCT


def verdict(
    claims: Mapping[str, Any],
    full: Mapping[str, Any] | None,
    glances: Sequence[Glance],
    opened: Sequence[str] = (),
) -> dict[str, Any]:
    """Return ``audit`` and ``contradictions`` of a run.

    Args:
        claims: claims by name, as in ``Claims.as_dict``.
        full: ``audit`` and ``contradictions`` of the full audit; None where there is none.
        glances: observations of the run's own steps.
        opened: files of the dataset that the rule's code opened in the run.

    Returns:
        ``audit``: by name of a claim, ``claimed`` and ``measured`` (None where nothing was
        measured); ``contradictions``: claims that do not hold, each with the evidence.
    """
    measured = {name: entry["measured"] for name, entry in (full or {}).get("audit", {}).items()}
    contradictions = list((full or {}).get("contradictions", []))
    local = independent(claims)
    steps: dict[str, list[int]] = {}
    for glance in glances:
        for name, value, evidence in _observations(glance, local):
            measured[name] = value
            steps.setdefault(f"{name}: {evidence}", []).append(glance.step + 1)
    for file in opened:
        measured["prediction"] = "leaks"
        contradictions.append(f"prediction: the rule's code opened {file}, a file of the dataset")
    weights_followed = any(glance.follows for glance in glances)
    if (weights_followed or measured.get("writes") == "foreign") and measured.get("bp_free"):
        # An update that follows weights, or is written from outside, may be a gradient.
        measured["bp_free"] = None
    contradictions += [f"{text} ({_words(numbers)} of the run)" for text, numbers in steps.items()]
    claimed = {**claims, **CONDUCT}
    return {
        "audit": {
            name: {"claimed": claimed.get(name), "measured": measured.get(name)} for name in claimed
        },
        "contradictions": contradictions,
    }


def _observations(glance: Glance, local: bool) -> Iterator[tuple[str, Any, str]]:
    """Yield, for one step, names of claims, the measured values and the evidence."""
    if glance.writes:
        yield "writes", "foreign", glance.writes[0]
    if glance.generators:
        generators = " and ".join(glance.generators)
        yield "randomness", "global", f"the step drew from the global generator of {generators}"
    if glance.follows:
        yield (
            "transport",
            # One change cannot distinguish one number per example from the full transpose.
            None,
            f"the update of {glance.follows[0]} follows the weights of {glance.changed}",
        )
    if local and glance.moved:
        yield "update_locked", True, f"the update of {glance.moved[0]} changed with {glance.cut}"


def _words(steps: list[int]) -> str:
    *others, last = map(str, steps)
    return f"steps {', '.join(others)} and {last}" if others else f"step {last}"
