"""What the audit found, compared with what was claimed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from lbench.auditing.locality import Locality
from lbench.auditing.subject import Unit
from lbench.auditing.transport import Transport
from lbench.claims import Claims

CONDUCT = {"writes": "own", "prediction": "clean", "randomness": "addressed"}
"""What every rule claims by being one."""
MAIN = ("bp_free", "transport", "backward_depth")
"""Without these three measurements there is no answer, whatever is claimed."""
NOISE = "the step draws noise that cannot be cut in two with the batch"

Verdict = Literal["as claimed", "contradicted", "not measurable", "measured"]
"""``measured``: everything was measured, and there are no claims to compare it with."""


@dataclass
class Report:
    """Measurements of a training step.

    Args:
        subject: whose step it is.
        network: on what it was measured, in words.
        units: blocks, other modules, readout.
        measured: by the claims' words; ``writes``, ``prediction`` and ``randomness`` too.
        claims: what was claimed; None where there is nobody who claims.
        local: which unit's signals moved when a later one was redrawn.
        transport: which layer's signals moved when a later one's transpose changed alone.
        evidence: by the claims' words, what was seen.
        label: how modules and parameters are called.
        config: options of the rule.
    """

    subject: str
    network: str
    units: list[Unit]
    measured: dict[str, Any]
    claims: Claims | None
    local: Locality
    transport: Transport
    evidence: dict[str, list[str]]
    label: Callable[[str], str] = str
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def claimed(self) -> dict[str, Any]:
        """Return claims by the words of ``measured``; None where nothing is claimed."""
        if self.claims is None:
            return dict.fromkeys(self.measured)
        return {**self.claims.as_dict(), **CONDUCT}

    @property
    def contradictions(self) -> list[str]:
        """Return the claims that do not hold, each with what was seen instead."""
        found = []
        for name, claimed in self.claimed.items():
            measured = self.measured[name]
            if claimed is None or measured is None or claimed == measured:
                continue
            word = "transport" if name == "bp_free" else name
            seen = "; ".join(self.evidence.get(word, [])[:3])
            found.append(
                f"{name}: claimed {_text(claimed)}, measured {_text(measured)}"
                + (f" ({seen})" if seen else "")
            )
        return found

    @property
    def unmeasured(self) -> list[str]:
        """Return the words of which the audit has no measurement: main ones, and claimed ones."""
        claimed = self.claimed
        return [
            name
            for name, value in self.measured.items()
            if value is None and (name in MAIN or claimed[name] is not None)
        ]

    @property
    def verdict(self) -> Verdict:
        """Return the answer in one word; a contradiction outweighs what was not measurable."""
        if self.contradictions:
            return "contradicted"
        if self.unmeasured:
            return "not measurable"
        return "measured" if self.claims is None else "as claimed"

    def unmeasurable(self) -> list[dict[str, str]]:
        """Return each ``layer`` of which it is not known what its transpose reaches, and why."""
        reasons = self.transport.reasons
        return [
            {"layer": self.label(name), "reason": reasons[name]}
            for name in self.transport.unmeasurable
        ]

    def reasons(self) -> list[str]:
        """Return why words are not measured: one sentence per reason, without a full stop."""
        missing = self.unmeasured
        layers: dict[str, list[str]] = {}
        if any(name != "couples" for name in missing):
            for each in self.unmeasurable():
                layers.setdefault(each["reason"], []).append(each["layer"])
        found = [f"for {', '.join(names)}, {reason}" for reason, names in layers.items()]
        found += self.evidence.get("bp_free", []) if "bp_free" in missing else []
        return [*found, NOISE] if "couples" in missing else found

    def layers(self) -> list[dict[str, Any]]:
        """Return the trained layers in the order in which they act.

        Each has its ``name``, ``backward_depth`` and ``transport``: by changed layer the kind, or
        None where it cannot be measured.
        """
        depths = self.transport.depths()
        kinds = self.transport.kinds
        return [
            {
                "name": self.label(m.name),
                "backward_depth": depths[m.name],
                "transport": {
                    self.label(later): kind
                    for (earlier, later), kind in kinds.items()
                    if earlier == m.name
                },
            }
            for m in self.transport.maps
        ]

    def locality(self) -> list[dict[str, Any]]:
        """Return by unit and later unit at which step, from 1, it first moved, and if it waits."""
        return [
            {
                "unit": unit,
                "redrawn": later,
                "moved_at_step": None if step is None else step + 1,
                "waits": self.local.locked[unit, later],
            }
            for (unit, later), step in self.local.redrawn.items()
        ]

    def as_json(self) -> dict[str, Any]:
        """Return everything, as ``lbench audit --json`` prints it."""
        return {
            "network": self.network,
            "verdict": self.verdict,
            "audit": self.as_dict(),
            "contradictions": self.contradictions,
            "reasons": self.reasons(),
            "evidence": {name: texts for name, texts in self.evidence.items() if texts},
            "units": [unit.name for unit in self.units],
            "locality": self.locality(),
            "layers": self.layers(),
            "unmeasurable": self.unmeasurable(),
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the ``audit`` of ``--json``: by word, what was claimed and what was measured."""
        claimed = self.claimed
        return {
            name: {"measured": value}
            if claimed[name] is None
            else {"claimed": claimed[name], "measured": value}
            for name, value in self.measured.items()
        }


def _text(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
