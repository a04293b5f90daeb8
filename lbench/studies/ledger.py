"""The file ``plan.json`` of a study: its points, their searches and the last command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lbench.errors import DamagedError, DeniedError
from lbench.home import Home
from lbench.rundir import read_json, write_json
from lbench.store.run_dir_reader import DAMAGE
from lbench.studies.definition import Domain, Point, Search, Span, Study
from lbench.studies.search import search_name
from lbench.studies.space import trial_count
from lbench.studies.study_plan import StudyPlan


@dataclass(frozen=True, slots=True)
class Entry:
    """A planned point.

    Args:
        point: the point.
        search: name of its search in Optuna's storage; None without a search.
        space: search space.
        objectives: quantities that are minimised.
        wanted: planned number of trials.
        untrainable: why nothing could be trained at the last attempt; None if something could.
    """

    point: Point
    search: str | None = None
    space: Mapping[str, Domain] = field(default_factory=dict)
    objectives: Sequence[str] = ()
    wanted: int = 0
    untrainable: str | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """All entries that belong to the current version of the study's file, oldest first.

    Args:
        study: the study, with the changes of the last command line.
        entries: the planned points.
        absent: datasets that the last command left out, with the reason.
        command: the last command.
        older: number of points that belong to an earlier version of the file.
    """

    study: Study
    entries: Sequence[Entry]
    absent: Mapping[str, str]
    command: str
    older: int = 0


def search_names(plan: StudyPlan) -> dict[str, str]:
    """Return the name of each search in Optuna's storage, by the key of its point."""
    search = plan.study.search
    if search is None:
        return {}
    return {
        point.key: search_name(
            plan.study.name,
            point,
            search,
            plan.spaces[point.key],
            plan.resolved[point.key].cell.spec(),
            plan.budgets.get(point.key),
        )
        for point in plan.points
    }


def write_ledger(home: Home, plan: StudyPlan, command: str) -> None:
    """Add the points of a plan to the study's ``plan.json``; replace those that it has.

    Args:
        home: home directory.
        plan: the plan.
        command: the command line, which reports print.

    Raises:
        DamagedError: the existing file is not what lbench wrote.
    """
    path = home.studies / plan.study.name / "plan.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    before = _content(path)
    _ledger(path, plan.study, before)  # raises before a damaged file is overwritten
    version = plan.study.version
    points = dict(before.get("points", {}))
    searches = search_names(plan)
    for lost in plan.untrainable:
        key = lost.point.key
        # Keep the search: runs from an earlier command still exist.
        earlier = points.get(key, {}) if points.get(key, {}).get("version") == version else {}
        points[key] = {**earlier, "version": version, "point": asdict(lost.point)}
        points[key]["untrainable"] = lost.reason
    for point in plan.points:
        entry = {"version": version, "point": asdict(point)}
        if (search := plan.study.search) is not None:
            entry["search"] = _search(search, searches[point.key], plan.spaces[point.key])
        points[point.key] = entry
    write_json(
        path,
        {
            "points": points,
            "absent": dict(plan.absent),
            "command": command,
            "changes": {"version": version, **_changeable(plan)},
        },
    )


def last_point(home: Home, name: str) -> Point | None:
    """Return the last point in a study's plan; None if the study was never run.

    Raises:
        DamagedError: its ``plan.json`` is not what lbench wrote.
    """
    points = _content(home.studies / name / "plan.json").get("points", {})
    return Point(**list(points.values())[-1]["point"]) if points else None


def read_ledger(home: Home, study: Study) -> Ledger:
    """Return the content of a study's ``plan.json``; empty if the study was never run.

    Raises:
        DamagedError: its ``plan.json`` is not what lbench wrote.
    """
    path = home.studies / study.name / "plan.json"
    return _ledger(path, study, _content(path))


def _ledger(path: Path, study: Study, content: Mapping[str, Any]) -> Ledger:
    """Return the parsed content of a ``plan.json``; raise DamagedError if it is invalid."""
    try:
        return _parsed(study, content)
    except DAMAGE as error:
        raise DamagedError(
            f"{path} is damaged: {type(error).__name__}: {error}.", _remedy(path)
        ) from None


def _parsed(study: Study, content: Mapping[str, Any]) -> Ledger:
    version = study.version
    points = content.get("points", {}).values()
    current = [entry for entry in points if entry["version"] == version]
    changes = content.get("changes", {})
    return Ledger(
        _with_changes(study, changes) if changes.get("version") == version else study,
        [_entry(entry) for entry in current],
        content.get("absent", {}),
        content.get("command", f"lbench study {study.name}"),
        len(points) - len(current),
    )


def _content(path: Path) -> dict[str, Any]:
    try:
        return read_json(path) or {}
    except DeniedError:
        raise
    except DamagedError as error:
        raise DamagedError(error.message, _remedy(path)) from None


def _remedy(path: Path) -> str:
    return f"Move {path} away and run the study again: finished runs are not repeated."


def _changeable(plan: StudyPlan) -> dict[str, Any]:
    """Return the fields that a command line may change; for a grid with its number of trials."""
    study, search = plan.study, plan.study.search
    if search is None:
        return {"seeds": study.seeds}
    return {
        "seeds": study.seeds,
        "trials": max(
            (trial_count(search, s) for s in plan.spaces.values()), default=search.trials
        ),
        "sampler": search.sampler,
        "objectives": list(search.objectives),
    }


def _with_changes(study: Study, changes: Mapping[str, Any]) -> Study:
    search = study.search and replace(
        study.search,
        trials=changes["trials"],
        sampler=changes["sampler"],
        objectives=tuple(changes["objectives"]),
    )
    return replace(study, seeds=changes["seeds"], search=search)


def _search(search: Search, name: str, space: Mapping[str, Domain]) -> dict[str, Any]:
    return {
        "name": name,
        "space": {n: asdict(d) if isinstance(d, Span) else list(d) for n, d in space.items()},
        "objectives": list(search.objectives),
        "wanted": trial_count(search, space),
    }


def _entry(content: Mapping[str, Any]) -> Entry:
    point = Point(**content["point"])
    search, untrainable = content.get("search"), content.get("untrainable")
    if search is None:
        return Entry(point, untrainable=untrainable)
    space: dict[str, Domain] = {
        name: Span(**domain) if isinstance(domain, dict) else tuple(domain)
        for name, domain in search["space"].items()
    }
    return Entry(point, search["name"], space, search["objectives"], search["wanted"], untrainable)
