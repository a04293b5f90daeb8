"""``lbench study NAME --status``: how far a study is."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lbench.api.study_report import running, say_gone
from lbench.cli.common import print_json
from lbench.errors import DamagedError
from lbench.home import Home
from lbench.report.table import NONE, Table, percent
from lbench.rundir import RunDir, read_json

if TYPE_CHECKING:
    from lbench.studies.definition import Study
    from lbench.studies.results import Results, SearchResult


def show(study: Study, home: Home, as_json: bool, name: str) -> int:
    """Prints a line a point: trials by state, best so far, final runs by status.

    Args:
        name: what the user called the study.
    """
    from lbench.store.read_access import read_access
    from lbench.studies.collection import collect_results

    with read_access(home) as at_hand:
        results = collect_results(study, at_hand)
    say_gone(results, home, name)
    rows = _rows(results)
    driver = _driver(home.studies / study.name)
    if as_json:
        print_json({"study": study.name, "home": str(home.root), "driver": driver, "points": rows})
        return 0
    if not rows and results.missing_files:
        return 0
    if not rows:
        what = f"was never run in {home.root}"
        if results.older:
            what = f"has nothing of this version of its file in {home.root}. {_earlier(results)}"
        cure = running(study, name, home.option)
        click.echo(f"Study {study.name} {what.rstrip('.')}. Run it with: {cure}")
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
        click.echo(f"Process {driver['pid']} on {driver['host']} runs it, since {since}.")
    elif not all(_over(row, results.study.seeds) for row in rows):
        click.echo(f"No process runs it now. It goes on with: {results.command}")
    for key, reason in results.untrainable.items():
        click.echo(f"Cannot be trained: {key}: {reason}")
    if results.older:
        click.echo(_earlier(results))
    return 0


def _earlier(results: Results) -> str:
    return (
        f"{results.older} points of an earlier version are left out; what is the same in this one "
        "is not trained again."
    )


def _driver(folder: Path) -> dict[str, Any] | None:
    """Who runs a study: ``pid``, ``host`` and ``since``, Unix time; None where nobody does."""
    try:
        return read_json(folder / "owner.json") if RunDir(folder).held() else None
    except (DamagedError, OSError):
        return None


def _over(row: dict[str, Any], seeds: int) -> bool:
    """Whether nothing is left to do at a point."""
    if row["untrainable"] is not None:
        return True
    trials, runs = row["trials"] or {}, row["final_runs"]
    ended = sum(trials.values()) - trials.get("running", 0)
    if row["wanted"] and row["best"] is None and ended >= row["wanted"]:
        return True  # no trial is complete, so there is nothing to train with fresh seeds
    finals = [runs] if row["default_runs"] is None else [runs, row["default_runs"]]
    made = all(sum(each.values()) >= seeds and "killed" not in each for each in finals)
    return ended >= (row["wanted"] or 0) and made


def _rows(results: Results) -> list[dict[str, Any]]:
    searches = {found.point.key: found for found in results.searches}
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
    words = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"{words} of {wanted}" if wanted else words
