"""The audits of several rules as one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lbench.audit_pages.matrix import UNKNOWN
from lbench.audit_pages.text import unmeasured
from lbench.audit_pages.words import CONTRADICTED, WORDS, say
from lbench.output.table import NONE, Table

if TYPE_CHECKING:
    from lbench.auditing.report import Report

SHOWN = ("bp_free", "backward_depth", "transport", "update_locked", "global_error", "couples")
COLUMNS = ("rule", *(WORDS[name] for name in SHOWN))

Audits = Mapping[str, "Report | str"]
"""By rule its report, or the reason why there is none."""


def table(audits: Audits) -> Table:
    """Return a row per rule with what was measured.

    Notes name contradictions, what was not measurable, and why a rule has no audit. A question
    mark stands for what is not measurable.
    """
    reports = {rule: None if isinstance(r, str) else r for rule, r in audits.items()}
    rows = [
        [rule, *(NONE if report is None else _word(report.measured[name]) for name in SHOWN)]
        for rule, report in reports.items()
    ]
    notes = [
        f"{rule}: {CONTRADICTED} {text}"
        for rule, report in reports.items()
        for text in (report.contradictions if report else ())
    ]
    for rule, report in audits.items():
        texts = [report] if isinstance(report, str) else unmeasured(report)
        notes += [f"{rule}: {text}" for text in texts]
    red = [at for at, report in enumerate(reports.values()) if report and report.contradictions]
    return Table("", COLUMNS, rows, red=red, notes=notes)


def as_json(audits: Audits) -> list[dict[str, Any]]:
    """Return an object per rule: that of a single audit, or one with its ``refusal``."""
    return [
        {"rule": rule, "refusal": report}
        if isinstance(report, str)
        else {"rule": rule, "config": report.config, **report.as_json()}
        for rule, report in audits.items()
    ]


def _word(value: Any) -> str:
    return UNKNOWN if value is None else say(value)
