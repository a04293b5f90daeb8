"""What ``lbench study`` and ``lbench tune`` print: the plan before, and what came of it."""

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
    from lbench.report.study import Report
    from lbench.studies.definition import Study
    from lbench.studies.results import Results
    from lbench.studies.runner import Ending
    from lbench.studies.study_plan import StudyPlan


def say_plan(plan: StudyPlan, places: list[str], seconds: float, unknown: int = 0) -> None:
    """Tells on standard error what will be done, and about how long it takes.

    Args:
        plan: what will be done.
        places: a device a worker.
        seconds: that it takes, as far as that could be estimated.
        unknown: how many points could not be timed.
    """
    study = plan.study
    say(f"{study.title}\n" if study.path is not None else f"{study.title}: {study.name}\n")
    what = [counted(len(plan.points), "point")]
    if study.search:
        what.append(f"{counted(plan.trials, 'trial')} ({study.search.sampler})")
    finals = counted(plan.finals, "final run")
    what.append(f"{finals} and {plan.references} of the defaults" if plan.references else finals)
    datasets = ", ".join(dict.fromkeys(point.dataset for point in plan.points))
    workers = f"{counted(len(places), 'worker')} on {', '.join(sorted(set(places)))}"
    where = f" on {datasets}" if datasets else ""
    say(f"{', '.join(what)}{where}; {workers}.\n")
    for name, reason in plan.absent.items():
        say(f"Left out: {name}, {reason}.\n")
    for key, resolved in plan.resolved.items():
        for note in resolved.notes:
            say(f"At {key}: {note}\n")
    for note in data_notes(plan):
        say(f"{note}\n")
    for lost in plan.untrainable:
        say(f"Cannot be trained: {lost.point.key}: {lost.reason}\n")
    without = f" without {counted(unknown, 'point')} that could not be timed" if unknown else ""
    say(f"All of it takes about {duration(seconds)}{without}; what is there is not run again.\n\n")


def data_notes(plan: StudyPlan) -> list[str]:
    """Return the notes of every dataset of the plan once, each with the dataset's name."""
    return list(
        dict.fromkeys(
            f"{point.dataset}: {note}"
            for point in plan.points
            for note in plan.resolved[point.key].dataset.notes
        )
    )


def plan_json(plan: StudyPlan, seconds: float) -> dict[str, Any]:
    """The same for ``--dry-run --json``."""
    from lbench.studies.space import format_domain

    return {
        "study": plan.study.name,
        "points": [
            {
                "point": point.key,
                "cell": plan.resolved[point.key].cell.id,
                "space": {n: format_domain(d) for n, d in plan.spaces.get(point.key, {}).items()},
            }
            for point in plan.points
        ],
        "trials": plan.trials,
        "final_runs": plan.finals,
        "default_runs": plan.references,
        "absent": dict(plan.absent),
        "notes": data_notes(plan),
        "untrainable": {each.point.key: each.reason for each in plan.untrainable},
        "seconds": round(seconds, 1),
    }


def best_of(results: Results) -> list[dict[str, Any]]:
    """What each search chose, as ``lbench run`` takes it; those without a complete trial left out.

    A run of that is the trial itself, with its test set read, where trials have the budget of the
    study's runs.
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
    study: Study, ending: Ending, report: Report | None, results: Results | None
) -> dict[str, Any]:
    """What ``--json`` prints when a study has run, or was stopped."""
    nothing: dict[str, Any] = {"report": None, "answer": None, "cells": [], "left_out": {}}
    return {
        "study": study.name,
        "complete": ending.complete,
        "stopped": ending.stopped,
        "trained": ending.trained,
        "unfinished": dict(ending.unfinished),
        "best": [] if results is None else best_of(results),
        **(nothing if report is None else report.as_dict()),
    }


def say_best(results: Results, home: Home, data_dir: Path | None) -> None:
    """Prints what each search chose, to paste."""
    more = [] if home == Home.at() else ["--home", str(home.root)]
    more += [] if data_dir is None else ["--data-dir", str(data_dir)]
    for best in best_of(results):
        click.echo(f"\n{best['command']}{f' {shlex.join(more)}' if more else ''}")
