"""An audit's report in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lbench.report.table import NONE, print_notes, print_table
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
"""What tables call the claims."""

LEGEND = (
    "Rows: whose update; columns: what was changed. 1, 2, …: the first step at which the update "
    "of the row moved; w: it waits for the column; ·: it never moved."
)
KINDS = (
    "Transport: the column's map was changed and its output held, so that its transpose alone was "
    "another. full, sign, scalar: what of it reached the update of the row; ?: not measurable. "
    "Depth: the longest chain of maps whose transposes reach the update."
)


def show(report: Report) -> None:
    """Prints claims and measurements, who depends on whom, and the depth site by site."""
    click.echo(f"{report.subject} on {report.network} (float64, a few steps on copies)")
    broken = {text.partition(":")[0] for text in report.contradictions}
    claimed = report.claimed
    lines = [
        [WORDS[name], say(claimed[name]), say(value), "contradicted" if name in broken else ""]
        for name, value in report.measured.items()
    ]
    print_table(["", "claimed", "measured", ""], lines)
    units = [unit.name for unit in report.units]
    print_table(["redrawn:", *units[1:]], _units(report, units))
    print_notes([LEGEND])
    sites = report.sites()
    names = [site["name"] for site in sites]
    click.echo()
    print_table(["changed:", *names[1:], "depth"], _sites(sites, names))
    print_notes([KINDS])
    click.echo()
    if report.contradictions:
        for text in report.contradictions:
            click.secho(paragraph(f"CONTRADICTED  {text}", indent="    "), fg="red")
    elif report.claims is not None:
        click.secho("What was measured is what is claimed.", fg="green")
    if hidden := report.transport.unmeasurable:
        words = ", ".join(report.label(name) for name in hidden)
        print_notes([f"Not measurable: what the transposes of {words} reach."])


def say(value: Any) -> str:
    """A claim or a measurement in a word."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NONE if value is None else str(value)


def _units(report: Report, units: list[str]) -> list[list[str]]:
    known = {(entry["unit"], entry["redrawn"]): entry for entry in report.locality()}

    def cell(unit: str, later: str) -> str:
        entry = known.get((unit, later))
        if entry is None:
            return ""
        moved = str(entry["moved_at_step"] or "")
        return (moved + ("w" if entry["waits"] else "")) or "·"

    return [[unit, *(cell(unit, later) for later in units[1:])] for unit in units[:-1]]


def _sites(sites: list[dict[str, Any]], names: list[str]) -> list[list[str]]:
    def cell(site: dict[str, Any], later: str) -> str:
        if later not in site["transport"]:
            return ""
        kind = site["transport"][later]
        return "?" if kind is None else "·" if kind == "none" else str(kind)

    return [
        [site["name"], *(cell(site, later) for later in names[1:]), str(site["backward_depth"])]
        for site in sites
    ]
