"""An audit's report in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lbench.report import audit_matrix
from lbench.report.table import NONE, Table, print_notes
from lbench.report.terminal import paragraph

if TYPE_CHECKING:
    from lbench.auditing.report import Report

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
FINE = "What was measured is what is claimed."

LEGEND = (
    "Row: the unit whose update was observed. Column: the unit whose weights were redrawn. 1, 2, …:"
    " the first step at which the update moved; w: it waits for the column; ·: it never moved."
)
KINDS = (
    "Row: the layer whose update was observed. Column: the layer whose weights were changed while "
    "its outputs were kept, so that its transpose alone was different. full, sign, scalar: what of "
    "it reached the update; ·: nothing; ?: not measurable. Depth: the longest chain of layers whose"
    " transposes reach the update, or at least (≥) that."
)


def show(report: Report) -> None:
    """Print claims and measurements, the two matrices, each layer's depth, and the verdict."""
    click.echo(paragraph(f"{report.subject} on {report.network} (float64, a few steps on copies)"))
    Table("", ["", "claimed", "measured", ""], words(report)).print()
    for matrix, legend in ((audit_matrix.units, LEGEND), (audit_matrix.layers, KINDS)):
        matrix(report).print()
        print_notes([legend])
        click.echo()
    for text in report.contradictions:
        click.secho(paragraph(f"CONTRADICTED  {text}", indent="    "), fg="red")
    for text in unmeasured(report):
        click.secho(paragraph(text, indent="    "), fg="yellow")
    if report.verdict == "as claimed":
        click.secho(FINE, fg="green")


def words(report: Report) -> list[list[str]]:
    """Return a row per claim: its name, what was claimed and measured, and a contradiction."""
    contradicted = {text.partition(":")[0] for text in report.contradictions}
    claimed = report.claimed
    return [
        [
            WORDS[name],
            say(claimed[name]),
            UNMEASURED if value is None else say(value),
            "contradicted" if name in contradicted else "",
        ]
        for name, value in report.measured.items()
    ]


def unmeasured(report: Report) -> list[str]:
    """Return what was not measurable and why, one sentence per reason."""
    if not report.unmeasured:
        return []
    what = f"Not measurable: {', '.join(WORDS[name] for name in report.unmeasured)}"
    return [f"{what}, because {reason}." for reason in report.reasons()] or [f"{what}."]


def say(value: Any) -> str:
    """Return a claim or a measurement in a word."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NONE if value is None else str(value)
