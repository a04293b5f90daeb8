"""The report of a study from what has been trained, and what to do where there is nothing."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from lbench.api.progress import say
from lbench.errors import DamagedError, LbenchError, UsageError
from lbench.home import Home

if TYPE_CHECKING:
    from lbench.report.study import Report
    from lbench.studies.definition import Study
    from lbench.studies.results import Results


def make(study: Study, home: Home, name: str, output: Path | None = None) -> Report:
    """The report of what is there of a study, written to its folder.

    Raises:
        UsageError: no run of it has ended, or the home may not be written.
    """
    from lbench.report.study import make_report
    from lbench.store.read_access import read_access
    from lbench.studies.collection import collect_results

    with read_access(home) as at_hand:
        results = collect_results(study, at_hand)
        if not results.ended:
            raise _nothing(results, home, name)
        say_gone(results, home, name)
        folder = output or _folder(study, home, name)
        return make_report(results, folder, home=at_hand)


def _nothing(results: Results, home: Home, name: str) -> LbenchError:
    """The error for a study with nothing to report: it has not run, or something is missing."""
    nothing = f"Study {results.study.name} has no finished run in {home.root}"
    if results.missing_files:
        sentences = " ".join(results.missing_files)
        return DamagedError(f"{nothing}. {sentences}", _again(results, home, name))
    if results.older:
        nothing += f"; {results.older} points are of an earlier version of its file"
    return UsageError(
        f"{nothing}.",
        f"Run it with: {running(results.study, name, home.option)}; or give --home where its runs "
        "lie.",
    )


def say_gone(results: Results, home: Home, name: str) -> None:
    """Say on standard error which files of a study are missing, and what makes them again."""
    if results.missing_files:
        say(f"{' '.join(results.missing_files)}\n", fg="yellow")
        say(f"{_again(results, home, name)}\n")


def _again(results: Results, home: Home, name: str) -> str:
    known = results.finals or results.searches or results.missing
    command = results.command if known else running(results.study, name, home.option)
    return f"Run it again with: {command}. What was trained is not trained again."


def _folder(study: Study, home: Home, name: str) -> Path:
    """The home's folder for a report, ready to be written.

    Raises:
        UsageError: it may not be written.
    """
    folder = home.reports / study.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
        reason = "no permission to write"
    except OSError as error:
        reason = error.strerror or str(error)
    raise UsageError(
        f"The report cannot be written to {folder}: {reason}.",
        f"Name another folder: lbench report {shlex.quote(name)}{home.option} --output FOLDER",
    )


def running(study: Study, name: str, where: str = "") -> str:
    """The command that runs a study.

    Args:
        study: of a file, or one that ``lbench tune`` makes.
        name: what the user called it.
        where: further options.
    """
    if study.path is not None:
        return f"lbench study {shlex.quote(name)}{where}"
    rule, dataset = study.arms[0].rule, study.datasets[0]
    return f"lbench tune --rule {rule} --dataset {dataset}{where} with the same options"
