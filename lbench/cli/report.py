"""``lbench report``: the report of a study from what is there; nothing is trained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lbench.api.progress import say
from lbench.api.study_report import make
from lbench.cli.common import home_option, json_option, plugin_option, print_json
from lbench.home import Home
from lbench.registry import registry
from lbench.report.terminal import paragraph

if TYPE_CHECKING:
    from lbench.report.study import Report
    from lbench.studies.definition import Study


@click.command(epilog="Example: lbench report leadership --html leadership.html")
@click.argument("study", metavar="STUDY|FILE")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the page to this file; it needs no other.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the report to this folder, not to the home.",
)
@plugin_option
@home_option
@json_option
def command(study: str, html: Path | None, output: Path | None, home: Home, as_json: bool) -> None:
    """Write the report of a study from what has been trained; runs nothing."""
    from lbench.studies.lookup import find_study

    write(find_study(study, registry(), home), home, as_json, study, html, output)


def write(
    study: Study,
    home: Home,
    as_json: bool,
    name: str,
    html: Path | None = None,
    output: Path | None = None,
    data_dir: Path | None = None,
) -> None:
    """Writes the report of a study and prints its answer; of a search of tune what it chose too.

    Args:
        name: what the user called it.
        html: where the page is written too.
        output: the report's folder; None for the home's.
        data_dir: that the line to paste names.

    Raises:
        UsageError: no run of it has ended, or the home may not be written.
    """
    report = make(study, home, name, output)
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(report.page, html)
    if as_json:
        print_json(report.as_dict() | ({"html": str(html)} if html else {}))
        return
    show(report, html)
    if study.path is None:
        from lbench.api.study_output import say_best
        from lbench.store.read_access import read_access
        from lbench.studies.collection import collect_results

        with read_access(home) as at_hand:
            say_best(collect_results(study, at_hand), home, data_dir)


def show(report: Report, html: Path | None = None) -> None:
    """Prints a report's answer, and where it lies."""
    click.echo(paragraph(report.answer.sentence))
    for figure, reason in report.left_out.items():
        say(f"Figure {figure} is left out: {reason}\n", fg="yellow")
    click.echo(f"\n{html or report.page}\nTables and figures: {report.folder}")
