"""Files of a study that are missing although runs of it were trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from lbench.home import Home
from lbench.store.rows import Member
from lbench.studies.search import search_digest
from lbench.studies.storage import location

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def missing_searches(
    home: Home,
    names: Mapping[str, str],
    storage: BaseStorage | None,
    members: Iterable[Member],
) -> list[str]:
    """Return a sentence for each search with trained trials that Optuna's storage lacks.

    Args:
        home: home directory, for the name of the storage in the sentence.
        names: names of the searches in the storage, by the key of the point.
        storage: Optuna's storage; None where it does not exist.
        members: memberships of runs in the study.
    """
    stored = [] if storage is None else [study.study_name for study in storage.get_all_studies()]
    trained = Counter((m.point, m.search) for m in set(members) if m.role == "trial")
    return [
        f"Optuna's storage {location(home)} does not have the search of {key}, although "
        f"{trained[key, search_digest(name)]} runs of its trials were trained."
        for key, name in names.items()
        if name not in stored and trained[key, search_digest(name)]
    ]


def missing_plan(home: Home, study: str, members: Collection[Member]) -> list[str]:
    """Return a sentence if the plan is missing although runs of the study were trained."""
    path = home.studies / study / "plan.json"
    if path.exists() or not members:
        return []
    return [f"{path} does not exist, although {len(members)} runs of the study were trained."]
