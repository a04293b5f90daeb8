"""Drives a pool of real processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lbench.execute.messages import Ended, Epoch, Event, Job
from lbench.execute.pool import Pool
from lbench.run.resolve import Request
from lbench.rundir import read_json

PERILOUS = Path(__file__).parent / "perilous.py"
PATIENCE = 120
"""Seconds after which a test gives up: other processes may want the same cores."""


def job(rule: str = "bp", key: Any = None, **changes: Any) -> Job:
    """A small job; what a request has not goes to the job."""
    own = {name: changes.pop(name) for name in ("trial", "watch", "seed") if name in changes}
    request = Request(rule, "digits", **{"epochs": 3, **changes})
    return Job(rule if key is None else key, request, **{"seed": 0, **own})


def drive(
    pool: Pool,
    *jobs: Job,
    answer: Callable[[Epoch], str | None] = lambda epoch: None,
    each: Callable[[Event], None] = lambda event: None,
) -> dict[Any, list[Event]]:
    """Does jobs, as many at a time as there are workers; what was told of each, by key.

    Args:
        answer: to the epochs of watched jobs.
        each: looks at every event.
    """
    waiting, told = list(jobs), {each.key: [] for each in jobs}
    deadline = time.monotonic() + PATIENCE
    while waiting or not all(events and isinstance(events[-1], Ended) for events in told.values()):
        while waiting and pool.idle():
            pool.submit(waiting.pop(0))
        for event in pool.events(1):
            told[event.key].append(event)
            each(event)
            if isinstance(event, Epoch):
                pool.answer(event.key, answer(event))
        assert time.monotonic() < deadline, told
    return told


def only(told: dict[Any, list[Event]], kind: type[Any], key: Any = None) -> list[Any]:
    """The events of a kind, of the only job or of the one with this key."""
    (events,) = told.values() if key is None else [told[key]]
    return [event for event in events if isinstance(event, kind)]


def end(told: dict[Any, list[Event]], key: Any = None) -> Ended:
    """How the job ended."""
    (ended,) = only(told, Ended, key)
    assert isinstance(ended, Ended)
    return ended


def process_of(ended: Ended) -> int:
    """Which process held the run directory last."""
    assert ended.run_dir is not None
    owner = read_json(ended.run_dir / "owner.json")
    assert owner is not None
    pid: int = owner["pid"]
    return pid
