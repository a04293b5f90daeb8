"""The report of an audit: measurements, compared with claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from lbench.auditing.locality import Locality
from lbench.auditing.subject import Unit
from lbench.auditing.transport import Transport
from lbench.claims import Claims

CONDUCT = {"writes": "own", "prediction": "clean", "randomness": "addressed"}
"""Claims that every rule makes by being a rule."""
MAIN = ("bp_free", "transport", "backward_depth")
"""Measurements without which the verdict is ``not measurable``, whatever is claimed."""
NOISE = "the step draws noise that cannot be cut in two with the batch"
UNSEEN = (
    "no update differed when the batch was cut in two, but a choice that the whole batch makes, "
    "such as that of leaders, may by chance be the same for its halves"
)

Verdict = Literal["as claimed", "contradicted", "not measurable", "measured"]
"""``measured``: everything was measured, and there are no claims to compare it with."""


@dataclass
class Report:
    """Measurements of a training step.

    Args:
        subject: name of the rule or function whose step was measured.
        network: description of the network on which it was measured.
        units: blocks, other modules, readout.
        measured: values by name of the claim, including ``writes``, ``prediction`` and
            ``randomness``.
        claims: the claims; None where there are none.
        local: which unit's signals moved when a later unit was redrawn.
        transport: which layer's signals moved when only the transpose of a later one changed.
        evidence: observations by name of the claim, in words.
        label: function from names of modules and parameters to their names in the report.
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
        """Return the claims by the names in ``measured``; None where nothing is claimed."""
        if self.claims is None:
            return dict.fromkeys(self.measured)
        return {**self.claims.as_dict(), **CONDUCT}

    @property
    def contradictions(self) -> list[str]:
        """Return the claims that do not hold, each with the measurement and its evidence."""
        contradictions = []
        for name, claimed in self.claimed.items():
            measured = self.measured[name]
            if claimed is None or measured is None or claimed == measured:
                continue
            source = "transport" if name == "bp_free" else name
            evidence = "; ".join(self.evidence.get(source, [])[:3])
            contradictions.append(
                f"{name}: claimed {_text(claimed)}, measured {_text(measured)}"
                + (f" ({evidence})" if evidence else "")
            )
        return contradictions

    @property
    def unmeasured(self) -> list[str]:
        """Return the names, of main measurements and of claims, that could not be measured."""
        claimed = self.claimed
        return [
            name
            for name, value in self.measured.items()
            if value is None and (name in MAIN or claimed[name] is not None)
        ]

    @property
    def verdict(self) -> Verdict:
        """Return the verdict; a contradiction takes precedence over what was not measurable."""
        if self.contradictions:
            return "contradicted"
        if self.unmeasured:
            return "not measurable"
        return "measured" if self.claims is None else "as claimed"

    def unmeasurable(self) -> list[dict[str, str]]:
        """Return each ``layer`` whose transpose may reach unknown updates, with the ``reason``."""
        reasons = self.transport.reasons
        return [
            {"layer": self.label(name), "reason": reasons[name]}
            for name in self.transport.unmeasurable
        ]

    def reasons(self) -> list[str]:
        """Return why values are not measured: one sentence per reason, without a full stop."""
        missing = self.unmeasured
        layers: dict[str, list[str]] = {}
        if any(name != "couples" for name in missing):
            for entry in self.unmeasurable():
                layers.setdefault(entry["reason"], []).append(entry["layer"])
        reasons = [f"for {', '.join(names)}, {reason}" for reason, names in layers.items()]
        reasons += self.evidence.get("bp_free", []) if "bp_free" in missing else []
        if "couples" in missing:
            reasons.append(UNSEEN if UNSEEN in self.evidence.get("couples", []) else NOISE)
        return reasons

    def layers(self) -> list[dict[str, Any]]:
        """Return the trained layers in the order in which they act.

        Each entry has ``name``, ``backward_depth`` and ``transport``: by changed layer the kind of
        transport, or None where it cannot be measured.
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
        """Return, by unit and later unit, the first step, from 1, at which the unit moved.

        ``moved_at_step`` is None where it did not move; ``waits`` is whether it waits for the
        later unit.
        """
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
        """Return the whole report, as ``lbench audit --json`` prints it."""
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
        """Return the ``audit`` of ``--json``: ``claimed`` and ``measured`` by name of the claim."""
        claimed = self.claimed
        return {
            name: {"measured": value}
            if claimed[name] is None
            else {"claimed": claimed[name], "measured": value}
            for name, value in self.measured.items()
        }


def _text(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
