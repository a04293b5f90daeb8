"""``lbench report``: write the report of a study from its ended runs, without training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lbench.api.progress import say
from lbench.api.study_report import write_report
from lbench.cli.common import home_option, json_option, plugin_option, print_json
from lbench.home import Home
from lbench.output.terminal import paragraph
from lbench.registry import registry

if TYPE_CHECKING:
    from lbench.report.study import Report
    from lbench.studies.definition import Study


@click.command(epilog="Example: lbench report leadership --html leadership.html")
@click.argument("study", metavar="STUDY|FILE")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the HTML page to this file, with its figures embedded.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the report to this directory. Default: reports/STUDY in the home.",
)
@plugin_option
@home_option
@json_option
def command(study: str, html: Path | None, output: Path | None, home: Home, as_json: bool) -> None:
    """Write the report of a study from the runs that have ended; run nothing.

    STUDY is the name of an installed study or of a search of lbench tune, FILE a TOML file.
    """
    from lbench.studies.lookup import find_study

    report_study(find_study(study, registry(), home), home, as_json, study, html, output)


def report_study(
    study: Study,
    home: Home,
    as_json: bool,
    name: str,
    html: Path | None = None,
    output: Path | None = None,
    data_dir: Path | None = None,
) -> None:
    """Write the report of a study and print its answer; for ``lbench tune`` also what it chose.

    Args:
        study: the study.
        home: the home with its runs.
        as_json: print the content of the report as JSON.
        name: the study's name or file, as the user gave it.
        html: a further path for the page.
        output: directory of the report; None for the home's.
        data_dir: directory of the datasets' files, for the printed command.

    Raises:
        UsageError: no run of the study has ended, or the home is not writable.
    """
    from lbench.store.read_access import read_access
    from lbench.studies.collection import collect_results

    with read_access(home) as readable:
        results = collect_results(study, readable)
        report = write_report(results, home, name, output, readable)
        if html is not None:
            html.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(report.page, html)
        if as_json:
            print_json(report.as_dict() | ({"html": str(html)} if html else {}))
            return
        print_answer(report, html)
        if study.path is None:
            from lbench.api.study_output import print_best

            print_best(results, home, data_dir)


def print_answer(report: Report, html: Path | None = None) -> None:
    """Print the answer of a report, and the paths of its page, tables and figures."""
    click.echo(paragraph(report.answer.sentence))
    for figure, reason in report.left_out.items():
        say(f"Figure {figure} is left out: {reason}\n", fg="yellow")
    click.echo(f"\nReport: {html or report.page}\nTables and figures: {report.folder}")
