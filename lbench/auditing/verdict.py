"""The audit of a run: its claims, what the full audit measured, and what its own steps did."""

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
        claims: by word, as in ``Claims.as_dict``.
        full: ``audit`` and ``contradictions`` of the full audit; None where there is none.
        glances: of the run's own steps.
        opened: files of the dataset that the rule's code opened in the run.

    Returns:
        ``audit``: by word ``claimed`` and ``measured`` (None where nothing was measured);
        ``contradictions``: claims that do not hold, with what was seen.
    """
    measured = {name: entry["measured"] for name, entry in (full or {}).get("audit", {}).items()}
    contradictions = list((full or {}).get("contradictions", []))
    local = independent(claims)
    steps: dict[str, list[int]] = {}
    for each in glances:
        for name, value, seen in _seen(each, local):
            measured[name] = value
            steps.setdefault(f"{name}: {seen}", []).append(each.step + 1)
    for file in opened:
        measured["prediction"] = "leaks"
        contradictions.append(f"prediction: the rule's code opened {file}, a file of the dataset")
    followed = any(each.follows for each in glances)
    if (followed or measured.get("writes") == "foreign") and measured.get("bp_free"):
        measured["bp_free"] = None  # what follows weights or is written elsewhere may be a gradient
    contradictions += [f"{text} ({_words(which)} of the run)" for text, which in steps.items()]
    claimed = {**claims, **CONDUCT}
    return {
        "audit": {
            name: {"claimed": claimed.get(name), "measured": measured.get(name)} for name in claimed
        },
        "contradictions": contradictions,
    }


def _seen(each: Glance, local: bool) -> Iterator[tuple[str, Any, str]]:
    """Yield by the claims' words what was measured at one step, and how it showed."""
    if each.writes:
        yield "writes", "foreign", each.writes[0]
    if each.generators:
        generators = " and ".join(each.generators)
        yield "randomness", "global", f"drew from the global generator of {generators}"
    if each.follows:
        yield (
            "transport",
            None,  # a number an example or the full transpose: one change does not tell
            f"the update of {each.follows[0]} follows the weights of {each.changed}",
        )
    if local and each.moved:
        yield "update_locked", True, f"the update of {each.moved[0]} changed with {each.cut}"


def _words(steps: list[int]) -> str:
    *others, last = map(str, steps)
    return f"steps {', '.join(others)} and {last}" if others else f"step {last}"
