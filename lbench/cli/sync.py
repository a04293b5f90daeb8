"""``lbench sync``: rebuilds the store from the run directories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbench.cli.common import home_option, json_option, print_json
from lbench.home import Home

if TYPE_CHECKING:
    from lbench.store.rows import RunRow


@click.command("sync")
@home_option
@json_option
@click.option("--no-mlflow", is_flag=True, help="Rebuild the record alone.")
def command(home: Home, as_json: bool, no_mlflow: bool) -> None:
    """Rebuild the store from the run directories; nothing is removed."""
    from lbench.store.sync import sync

    report = sync(home, summarise, mlflow=not no_mlflow)
    if as_json:
        print_json(
            {
                "home": str(home.root),
                "cells": report.cells,
                "runs": report.runs,
                "statuses": dict(report.statuses),
                "published": report.published,
                "unreadable": {str(path): reason for path, reason in report.unreadable.items()},
            }
        )
        return
    statuses = ", ".join(f"{count} {status}" for status, count in report.statuses.items())
    click.echo(
        f"{_count(report.runs, 'run')} of {_count(report.cells, 'cell')}: {statuses}."
        if report.runs
        else f"No run directories in {home.runs}."
    )
    if report.published:
        click.echo("MLflow shows them: lbench ui")
    for reason in report.unreadable.values():
        click.secho(f"Left out: {reason}", err=True, fg="yellow")


def summarise(runs: list[RunRow]) -> dict[str, float | None]:
    """The numbers of a cell's line in MLflow: test error over its finished runs, in percent."""
    from lbench.report.stats import interval

    errors = [run.test_error for run in runs if run.status == "finished"]
    values = [error for error in errors if error is not None]
    if not values:
        return {"n": 0}
    summary = interval(values)
    return {
        "test_error_mean": summary.mean,
        "test_error_sd": summary.sd,
        "test_error_ci95_low": summary.low,
        "test_error_ci95_high": summary.high,
        "n": summary.n,
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
