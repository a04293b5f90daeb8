"""The report of a study from its ended runs, and what to do if there are none."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from lbench.api.progress import say
from lbench.errors import DamagedError, LbenchError, UsageError
from lbench.home import Home
from lbench.plurals import counted

if TYPE_CHECKING:
    from lbench.report.study import Report
    from lbench.studies.definition import Study
    from lbench.studies.results import StudyData


def write_report(
    results: StudyData,
    home: Home,
    name: str,
    output: Path | None = None,
    readable: Home | None = None,
) -> Report:
    """Write the report of a study to its folder, and return it.

    Args:
        results: searches and final runs of the study.
        home: the home with its runs.
        name: the study's name or file, as the user gave it.
        output: folder of the report; None for the home's.
        readable: the home with databases that can be read, as of ``read_access``; None for ``home``
            itself.

    Raises:
        UsageError: no run of the study has ended, or the home is not writable.
        DamagedError: no run has ended, and files of the study are missing.
    """
    from lbench.report.study import make_report

    if not results.ended:
        raise _no_runs_error(results, home, name)
    say_missing_files(results, home, name)
    folder = output or _folder(results.study, home, name)
    return make_report(results, folder, home=readable or home)


def _no_runs_error(results: StudyData, home: Home, name: str) -> LbenchError:
    """Return the error for a study that has not run, or of which files are missing."""
    message = f"Study {results.study.name} has no finished run in {home.root}"
    if results.missing_files:
        sentences = " ".join(results.missing_files)
        return DamagedError(f"{message}. {sentences}", _rerun_hint(results, home, name))
    if results.older:
        message += f"; {counted(results.older, 'point')} of an earlier version of its file left out"
    return UsageError(
        f"{message}.",
        f"Run it with: {run_command(results.study, name, home.option)}. If its runs are in "
        "another directory, name it with --home.",
    )


def say_missing_files(results: StudyData, home: Home, name: str) -> None:
    """Report on standard error which files of a study are missing, and how to restore them."""
    if results.missing_files:
        say(f"{' '.join(results.missing_files)}\n", fg="yellow")
        say(f"{_rerun_hint(results, home, name)}\n")


def _rerun_hint(results: StudyData, home: Home, name: str) -> str:
    points = results.finals or results.searches or results.missing
    command = results.command if points else run_command(results.study, name, home.option)
    return f"Run it again with: {command}. Finished runs are not trained again."


def _folder(study: Study, home: Home, name: str) -> Path:
    """Create and return the home's folder for the report of a study.

    Raises:
        UsageError: the folder is not writable.
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


def run_command(study: Study, name: str, options: str = "") -> str:
    """Return the command that runs a study.

    Args:
        study: a study of a file, or a search of ``lbench tune``.
        name: the study's name or file, as the user gave it.
        options: further options, with a leading space.
    """
    if study.path is not None:
        return f"lbench study {shlex.quote(name)}{options}"
    rule, dataset = study.arms[0].rule, study.datasets[0]
    return f"lbench tune --rule {rule} --dataset {dataset}{options} with the same options"
