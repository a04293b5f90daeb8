"""``lbench sync``: rebuild the store from the run directories."""

from __future__ import annotations

import click

from lbench.api.progress import say
from lbench.cli.common import home_option, json_option, print_json
from lbench.errors import DamagedError
from lbench.home import Home
from lbench.plurals import counted


@click.command("sync", epilog="Example: lbench sync --no-mlflow")
@home_option
@json_option
@click.option("--no-mlflow", is_flag=True, help="Rebuild lbench's record, but not MLflow's view.")
def command(home: Home, as_json: bool, no_mlflow: bool) -> int:
    """Rebuild the store from the run directories; nothing is removed.

    The exit code is 1 if a directory could not be read; the command still reads all others.
    """
    from lbench.store.sync import sync

    report = sync(home, mlflow=not no_mlflow)
    code = DamagedError.exit_code if report.unreadable else 0
    if as_json:
        print_json(
            {
                "home": str(home.root),
                "cells": report.cells,
                "runs": report.runs,
                "statuses": dict(report.statuses),
                "published": report.published,
                "unreadable": {str(path): reason for path, reason in report.unreadable.items()},
                "skipped": list(report.skipped),
            }
        )
        return code
    if report.runs:
        statuses = ", ".join(f"{count} {status}" for status, count in report.statuses.items())
        configurations = counted(report.cells, "configuration")
        click.echo(f"{counted(report.runs, 'run')} of {configurations}: {statuses}.")
        if report.published:
            click.echo(f"Show them in the MLflow UI with: lbench ui{home.option}")
    elif report.unreadable:
        click.echo("No run directory could be read.")
    else:
        click.echo(f"There are no run directories in {home.runs}.")
    for reason in report.unreadable.values():
        say(f"Left out: {reason}\n", fg="yellow")
    for sentence in report.skipped:
        say(f"{sentence}\n", fg="yellow")
    return code
