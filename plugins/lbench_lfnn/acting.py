"""Leaders per block, and which options of their choice act: for records and for studies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lbench_lfnn.config import LeaderConfig
from lbench_lfnn.workers import leaders

CHOICE = ("leadership", "rounding")
"""Options that act through the numbers of leaders alone."""
FOLLOWING = ("selection", "follow", "reference", "lam", "lambda2", "through_followers")
"""Options that cannot act where all workers lead."""


def leaders_per_block(counts: Sequence[int], config: LeaderConfig) -> dict[str, list[int]]:
    """Return the numbers of workers and leaders per block; 0 of both in a block without workers."""
    leading = [leaders(count, config) if count else 0 for count in counts]
    return {"workers": list(counts), "leaders": leading}


def acting_options(counts: Sequence[int], config: LeaderConfig) -> dict[str, Any]:
    """Return the options as they act in blocks with these numbers of workers.

    The numbers of leaders stand for leadership and rounding. Options of followers are left out if
    there are none, those of what followers copy also if the weight of their loss is 0, and a
    choice between leaders where no block has two.
    """
    leading = leaders_per_block(counts, config)["leaders"]
    acting = {name: value for name, value in config.model_dump().items() if name not in CHOICE}
    idle: set[str] = set()
    if leading == list(counts):
        idle |= set(FOLLOWING)
    if leading[1:] == list(counts[1:]):
        idle.add("through_followers")
    if acting.get("lam") == 0 or acting.get("lambda2") == 0:
        idle |= {"follow", "reference"}
    if acting.get("lambda1") == 0:
        idle.add("leader_loss")
    if max(leading) < 2:
        idle |= {"leader_loss", "reference"}
    return {"leaders": leading, **{n: value for n, value in acting.items() if n not in idle}}


def leader_remedy(option: str, counts: Sequence[int], config: LeaderConfig) -> str:
    """Return what makes an option of leaders or followers act."""
    most = max(counts)
    if option not in {*CHOICE, *FOLLOWING, "leader_loss"}:
        return ""
    if most < 2:
        return "A single worker always leads: give the blocks more workers."
    if option == "leadership":
        return (
            f"With {most} workers the number of leaders changes in steps of {1 / most:.2g}: take "
            "values further apart, or more workers."
        )
    if option == "rounding":
        return "It acts where leadership times workers is no whole number."
    if option == "leader_loss":
        return "It acts where a block has several leaders and the leader loss has a weight."
    return "It acts where a block has followers whose loss has a weight: lower leadership."
