"""Output of ``lbench study`` and ``lbench tune``: the plan, and the choices of searches."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lbench.api.progress import duration, say
from lbench.home import Home
from lbench.plurals import counted
from lbench.registry import registry

if TYPE_CHECKING:
    from lbench.output.table import Table
    from lbench.report.study import Report
    from lbench.studies.definition import Study
    from lbench.studies.estimate import StudyCost
    from lbench.studies.results import StudyData
    from lbench.studies.runner import Ending
    from lbench.studies.study_plan import StudyPlan


def say_plan(plan: StudyPlan, devices: list[str], cost: StudyCost) -> None:
    """Write the plan of a study and its estimated time to standard error.

    Args:
        plan: the plan.
        devices: device of each worker process.
        cost: what it is estimated to cost.
    """
    study = plan.study
    say(f"{study.title}\n" if study.path is not None else f"{study.title}: {study.name}\n")
    parts = [counted(len(plan.points), "point")]
    if study.search:
        parts.append(f"{counted(plan.trials, 'trial')} ({study.search.sampler})")
    finals = counted(plan.finals, "final run")
    parts.append(f"{finals} and {plan.references} of the defaults" if plan.references else finals)
    datasets = ", ".join(dict.fromkeys(point.dataset for point in plan.points))
    processes = counted(len(devices), "worker process", "worker processes")
    workers = f"{processes} on {', '.join(sorted(set(devices)))}"
    data = f" on {datasets}" if datasets else ""
    say(f"{', '.join(parts)}{data}; {workers}.\n")
    for name, reason in plan.absent.items():
        say(f"Left out: {name}, {reason}.\n")
    for key, resolved in plan.resolved.items():
        for note in resolved.notes:
            say(f"At {key}: {note}\n")
    for note in [*plan.notes, *data_notes(plan)]:
        say(f"{note}\n")
    for refusal in plan.untrainable:
        say(f"Cannot be trained: {refusal.point.key}: {refusal.reason}\n")
    untimed = cost.untimed
    without = f", without {counted(untimed, 'point')} that could not be timed" if untimed else ""
    say(
        f"Estimated time: {duration(cost.seconds)} for the whole study{without}; "
        f"{_hours(devices, cost)}. Finished runs are not trained again.\n\n"
    )


def _hours(devices: list[str], cost: StudyCost) -> str:
    unit = "CPU" if "cpu" in devices else "GPU"
    return f"{cost.core_hours:.{2 if cost.core_hours < 1 else 1}f} {unit}-hours"


def cost_table(devices: list[str], cost: StudyCost) -> Table:
    """Return the table of what each configuration costs, as ``--dry-run`` prints it.

    Args:
        devices: device of each worker process.
        cost: what the study is estimated to cost.
    """
    from lbench.output.table import Table

    rows = [
        [key, str(point.runs), duration(point.run), duration(point.seconds)]
        for key, point in cost.points.items()
    ]
    runs = sum(point.runs for point in cost.points.values())
    total = sum(point.seconds for point in cost.points.values())
    processes = counted(len(devices), "worker process", "worker processes")
    notes = [
        f"{_hours(devices, cost)}; {duration(cost.seconds)} on {processes}, with their start and "
        "the report. A point whose runs another point has costs nothing."
    ]
    names = ["configuration", "runs", "one run", "all runs"]
    return Table(
        "", names, [*rows, ["together", str(runs), "", duration(total)]], (1, 2, 3), (), (), notes
    )


def data_notes(plan: StudyPlan) -> list[str]:
    """Return the notes of every dataset of the plan once, each with the dataset's name."""
    return list(
        dict.fromkeys(
            f"{point.dataset}: {note}"
            for point in plan.points
            for note in plan.resolved[point.key].dataset.notes
        )
    )


def plan_json(plan: StudyPlan, devices: list[str], cost: StudyCost) -> dict[str, Any]:
    """Return the object that ``--dry-run --json`` prints.

    Args:
        plan: the plan.
        devices: device of each worker process.
        cost: what the study is estimated to cost.
    """
    costs = {key: (point.runs, round(point.seconds, 1)) for key, point in cost.points.items()}
    from lbench.studies.space import format_domain

    return {
        "study": plan.study.name,
        "points": [
            {
                "point": point.key,
                "cell": plan.resolved[point.key].cell.id,
                "space": {n: format_domain(d) for n, d in plan.spaces.get(point.key, {}).items()},
                "runs": costs.get(point.key, (None, None))[0],
                "seconds": costs.get(point.key, (None, None))[1],
            }
            for point in plan.points
        ],
        "trials": plan.trials,
        "final_runs": plan.finals,
        "default_runs": plan.references,
        "absent": dict(plan.absent),
        "notes": [*plan.notes, *data_notes(plan)],
        "untrainable": {refusal.point.key: refusal.reason for refusal in plan.untrainable},
        "seconds": round(cost.seconds, 1),
        "hours": {"cpu" if "cpu" in devices else "gpu": round(cost.core_hours, 3)},
    }


def search_choices(results: StudyData) -> list[dict[str, Any]]:
    """Return what each search with a complete trial chose, with its ``lbench run`` command.

    If trials have the budget of the study's runs, that command completes the trial itself: it
    reads the test set and trains nothing.
    """
    from lbench.report.worth import worths
    from lbench.studies.settings import as_flags

    worth = worths(results)
    return [
        {
            "point": search.point.key,
            "trial": search.best.number,
            "val_error": search.best.values[0] if search.best.values else None,
            "params": dict(search.best.params),
            "indistinguishable": len(search.indistinguishable),
            "defaults": worth[search.point.key].as_dict(),
            "command": f"lbench run {as_flags(search.point, search.best.params, registry())}",
        }
        for search in results.searches
        if search.best is not None
    ]


def ending_json(
    study: Study, ending: Ending, report: Report | None, results: StudyData | None
) -> dict[str, Any]:
    """Return the object that ``--json`` prints when a study has run or was stopped."""
    no_report: dict[str, Any] = {"report": None, "answer": None, "cells": [], "left_out": {}}
    return {
        "study": study.name,
        "complete": ending.complete,
        "stopped": ending.stopped,
        "trained": ending.trained,
        "unfinished": dict(ending.unfinished),
        "best": [] if results is None else search_choices(results),
        **(no_report if report is None else report.as_dict()),
    }


def print_best(results: StudyData, home: Home, data_dir: Path | None) -> None:
    """Print the command that runs what each search chose.

    Args:
        results: the results of the study.
        home: the home, which the command names unless it is the default.
        data_dir: directory of the datasets' files, which the command names.
    """
    options = [] if home == Home.at() else ["--home", str(home.root)]
    options += [] if data_dir is None else ["--data-dir", str(data_dir)]
    for choice in search_choices(results):
        click.echo("\nRun the best configuration with:")
        click.echo(f"{choice['command']}{f' {shlex.join(options)}' if options else ''}")
