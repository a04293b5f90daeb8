"""An audit's report in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbench.audit_pages import matrix as matrices
from lbench.audit_pages.words import UNMEASURED, WORDS, say
from lbench.output.table import Table, print_notes
from lbench.output.terminal import paragraph

if TYPE_CHECKING:
    from lbench.auditing.report import Report

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
    for matrix, legend in ((matrices.units, LEGEND), (matrices.layers, KINDS)):
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
