"""``lbench study NAME --status``: the progress of a study."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lbench.api.study_report import run_command, say_missing_files
from lbench.cli.common import print_json
from lbench.errors import DamagedError
from lbench.home import Home
from lbench.output.table import NONE, Table, percent
from lbench.plurals import counted
from lbench.rundir import RunDir, read_json

if TYPE_CHECKING:
    from lbench.studies.definition import Study
    from lbench.studies.results import SearchResult, StudyData


def show(study: Study, home: Home, as_json: bool, name: str) -> int:
    """Print a line per point: trials by state, lowest validation error, final runs by status.

    Args:
        study: the study.
        home: the home with its runs.
        as_json: print JSON.
        name: the study's name or file, as the user gave it.

    Returns:
        The exit code, 0.
    """
    from lbench.store.read_access import read_access
    from lbench.studies.collection import collect_results

    with read_access(home) as readable:
        results = collect_results(study, readable)
    say_missing_files(results, home, name)
    rows = _rows(results)
    driver = _driver(home.studies / study.name)
    if as_json:
        print_json({"study": study.name, "home": str(home.root), "driver": driver, "points": rows})
        return 0
    if not rows and results.missing_files:
        return 0
    if not rows:
        state = f"was never run in {home.root}."
        if results.older:
            state = f"has no runs of this version of its file in {home.root}. {_earlier(results)}"
        command = run_command(study, name, home.option)
        click.echo(f"Study {study.name} {state} Run it with: {command}")
        return 0
    Table(
        study.title,
        ["point", "trials", "best validation %", "final runs"],
        [
            [
                row["point"],
                _counts(row["trials"], row["wanted"]),
                percent(row["best"]),
                _counts(row["final_runs"], None),
            ]
            for row in rows
        ],
        right=(2,),
    ).print()
    if driver is not None:
        since = time.strftime("%H:%M:%S", time.localtime(driver["since"]))
        click.echo(
            f"Process {driver['pid']} on {driver['host']} has been running it since {since}."
        )
    elif not all(_is_complete(row, results.study.seeds) for row in rows):
        click.echo(f"No process is running it. Continue it with: {results.command}")
    for key, reason in results.untrainable.items():
        click.echo(f"Cannot be trained: {key}: {reason}")
    if results.older:
        click.echo(_earlier(results))
    return 0


def _earlier(results: StudyData) -> str:
    return (
        f"Left out: {counted(results.older, 'point')} of an earlier version of the file. Runs "
        "that both versions have are not trained again."
    )


def _driver(folder: Path) -> dict[str, Any] | None:
    """Return ``pid``, ``host`` and ``since`` (Unix time) of the process that runs a study.

    None where no process runs it.
    """
    try:
        return read_json(folder / "owner.json") if RunDir(folder).held() else None
    except (DamagedError, OSError):
        return None


def _is_complete(row: dict[str, Any], seeds: int) -> bool:
    """Return whether nothing is left to do at a point."""
    if row["untrainable"] is not None:
        return True
    trials, runs = row["trials"] or {}, row["final_runs"]
    ended = sum(trials.values()) - trials.get("running", 0)
    if row["wanted"] and row["best"] is None and ended >= row["wanted"]:
        return True  # no trial is complete, so there is nothing to train with new seeds
    finals = [runs] if row["default_runs"] is None else [runs, row["default_runs"]]
    ran = all(sum(counts.values()) >= seeds and "killed" not in counts for counts in finals)
    return ended >= (row["wanted"] or 0) and ran


def _rows(results: StudyData) -> list[dict[str, Any]]:
    searches = {search.point.key: search for search in results.searches}
    finals = {final.point.key: final for final in results.finals}
    keys = dict.fromkeys([*searches, *finals, *(point.key for point in results.missing)])
    rows = [_row(key, searches.get(key), finals.get(key)) for key in keys]
    return [{**row, "untrainable": results.untrainable.get(row["point"])} for row in rows]


def _row(key: str, search: SearchResult | None, final: Any) -> dict[str, Any]:
    best = search.best if search else None
    defaults = None
    if search is not None and not (best is not None and best.defaults):
        runs = search.defaults.runs if search.defaults is not None else ()
        defaults = dict(Counter(run.status for run in runs))
    return {
        "point": key,
        "trials": dict(Counter(trial.state for trial in search.trials)) if search else None,
        "wanted": search.wanted if search else None,
        "best": best.values[0] if best and best.values else None,
        "final_runs": dict(Counter(run.status for run in final.runs)) if final else {},
        "default_runs": defaults,
    }


def _counts(counts: dict[str, int] | None, wanted: int | None) -> str:
    if not counts:
        return NONE
    text = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"{text} of {wanted}" if wanted else text
