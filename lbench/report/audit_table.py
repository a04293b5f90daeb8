"""The audits of several rules as one table: in a terminal and in markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lbench.report.audit import CONTRADICTED
from lbench.report.audit_matrix import UNKNOWN
from lbench.report.audit_text import WORDS, say, unmeasured
from lbench.report.table import NONE, markdown, print_notes, print_table

if TYPE_CHECKING:
    from lbench.auditing.report import Report

SHOWN = (
    "bp_free",
    "backward_depth",
    "transport",
    "update_locked",
    "global_error",
    "couples",
)
COLUMNS = ("rule", *(WORDS[name] for name in SHOWN))

Audits = Mapping[str, "Report | str"]
"""By rule its report, or why there is none."""


def show(audits: Audits) -> None:
    """Print what was measured, one line per rule, and each contradiction."""
    red = [at for at, report in enumerate(audits.values()) if contradictions(report)]
    print_table(COLUMNS, cells(audits), red=red)
    print_notes(notes(audits))


def to_markdown(audits: Audits) -> str:
    """Return the same in GitHub's markdown."""
    below = "\n".join(f"- {note}" for note in notes(audits))
    return "\n\n".join(part for part in (markdown(COLUMNS, cells(audits)), below) if part)


def cells(audits: Audits) -> list[list[str]]:
    """Return a table's cells, in :data:`COLUMNS`; a question mark where nothing is measurable."""
    return [
        [rule, *(NONE if isinstance(report, str) else _say(report.measured[n]) for n in SHOWN)]
        for rule, report in audits.items()
    ]


def notes(audits: Audits) -> list[str]:
    """Return contradictions, what was not measurable, and why a rule has no audit."""
    lines = [
        f"{rule}: {CONTRADICTED} {text}"
        for rule, report in audits.items()
        for text in contradictions(report)
    ]
    for rule, report in audits.items():
        lines += [f"{rule}: {report}"] if isinstance(report, str) else []
        lines += [] if isinstance(report, str) else [f"{rule}: {t}" for t in unmeasured(report)]
    return lines


def contradictions(report: Report | str) -> Sequence[str]:
    """Return those of a report; a rule without one has none."""
    return [] if isinstance(report, str) else report.contradictions


def _say(value: Any) -> str:
    return UNKNOWN if value is None else say(value)


def as_json(audits: Audits) -> list[dict[str, Any]]:
    """Return an object per rule: as of a single audit, or with its ``refusal``."""
    return [
        {"rule": rule, "refusal": report}
        if isinstance(report, str)
        else {"rule": rule, "config": report.config, **report.as_json()}
        for rule, report in audits.items()
    ]
