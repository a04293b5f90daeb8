"""What a study's folder or Optuna's storage lacks of what was trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from lbench.home import Home
from lbench.store.rows import Member
from lbench.study.search import search_digest
from lbench.study.storage import where

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def missing_searches(
    home: Home,
    names: Mapping[str, str],
    storage: BaseStorage | None,
    members: Iterable[Member],
) -> list[str]:
    """Return a sentence on each search whose trials were trained and that Optuna lacks.

    Args:
        home: for the storage's name.
        names: of the searches, by the point's key.
        storage: Optuna's; None for one that is not there.
        members: the study's.
    """
    known = [] if storage is None else [each.study_name for each in storage.get_all_studies()]
    trained = Counter((m.point, m.search) for m in set(members) if m.role == "trial")
    return [
        f"Optuna's storage {where(home)} does not have the search of {key}, of which "
        f"{trained[key, search_digest(name)]} runs of trials were trained."
        for key, name in names.items()
        if name not in known and trained[key, search_digest(name)]
    ]


def missing_plan(home: Home, study: str, members: Collection[Member]) -> list[str]:
    """Return the sentence on a plan that is not there; of a study that was never run, nothing."""
    path = home.studies / study / "plan.json"
    if path.exists() or not members:
        return []
    return [f"{path} is not there, although {len(members)} runs of the study were trained."]
