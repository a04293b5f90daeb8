"""Studies of one search, which ``lbench tune`` makes from its options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lbench.errors import DamagedError, unknown
from lbench.home import Home
from lbench.studies.definition import Arm, Search, Study, digest
from lbench.studies.ledger import last_point

PREFIX = "tune-"


def tuning_study(
    rule: str,
    dataset: str,
    network: str | None,
    settings: Mapping[str, Any],
    only: Sequence[str] | None,
) -> Study:
    """Return the study of a search. Its name is a function of the arguments.

    Args:
        rule: name of the rule.
        dataset: name of the dataset.
        network: name of the network; None for the default of the dataset.
        settings: settings that are not searched, as text.
        only: options that are searched; None for all that declare a range.
    """
    name = f"{PREFIX}{rule}-{dataset}-{digest([rule, dataset, network, settings, only])}"
    return _study(
        name, rule, dataset, network, settings, Search(only=None if only is None else tuple(only))
    )


def find_tuning_study(name: str, home: Home) -> Study:
    """Return the study of a search that was begun in a home, as far as a report needs it.

    The search space is not part of it; the plan in the folder of the study has it.

    Args:
        name: name of the study, as ``lbench tune`` printed it.
        home: home directory of the search.

    Raises:
        UsageError: no such search was begun. The message has the most similar name.
        DamagedError: its ``plan.json`` is missing, or is not what lbench wrote.
    """
    if (point := last_point(home, name)) is None:
        if (home.studies / name / "members.jsonl").exists():
            raise DamagedError(
                f"{home.studies / name / 'plan.json'} does not exist, although runs were trained.",
                "Run lbench tune again with the same options: finished runs are not repeated.",
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
