"""A study of one search, as ``lbench tune`` makes it from its options and finds it in a home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lbench.errors import DamagedError, unknown
from lbench.home import Home
from lbench.study.definition import Arm, Search, Study, digest
from lbench.study.ledger import last_point

PREFIX = "tune-"


def tuning_study(
    rule: str,
    dataset: str,
    network: str | None,
    settings: Mapping[str, Any],
    only: Sequence[str] | None,
) -> Study:
    """Return the study of a search; its name is the same for the same options.

    Args:
        rule: its name.
        dataset: its name.
        network: its name; None for the dataset's own.
        settings: that stay, as text.
        only: the options that are searched; None for all that declare a range.
    """
    asked = [rule, dataset, network, settings, only]
    name = f"{PREFIX}{rule}-{dataset}-{digest(asked)}"
    return _study(
        name, rule, dataset, network, settings, Search(only=None if only is None else tuple(only))
    )


def find_tuning_study(name: str, home: Home) -> Study:
    """Return the study of a search that was begun in a home, as far as a report needs it.

    What was searched is known from the plan in its folder, not from here.

    Raises:
        UsageError: none of that name was; says the nearest.
        DamagedError: its ``plan.json`` is not what lbench wrote, or not there.
    """
    if (point := last_point(home, name)) is None:
        if (home.studies / name / "members.jsonl").exists():
            raise DamagedError(
                f"{home.studies / name / 'plan.json'} is not there, although runs were trained.",
                "Run lbench tune again with the same options: what was trained is not trained "
                "again.",
            )
        begun = [path.parent.name for path in home.studies.glob(f"{PREFIX}*/plan.json")]
        listing = f"Searches of lbench tune in {home.root}: {', '.join(sorted(begun)) or 'none'}."
        raise unknown("study", name, begun, listing=listing)
    return _study(name, point.rule, point.dataset, point.network, point.settings, Search())


def _study(
    name: str,
    rule: str,
    dataset: str,
    network: str | None,
    settings: Mapping[str, Any],
    search: Search,
) -> Study:
    return Study(
        name=name,
        title=f"Tuning {rule} on {dataset}",
        question=f"Which options, learning rate, decay and optimizer suit {rule} on {dataset}?",
        kind="search",
        arms=(Arm(rule, settings=settings),),
        datasets=(dataset,),
        networks=(network,) if network else (),
        search=search,
        analysis="identify",
        figures=("history", "importance", "curves"),
    )
