"""Helpers that drive a pool of real processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lbench.execute.messages import Ended, Epoch, Event, Job
from lbench.execute.pool import Pool
from lbench.rundir import read_json
from lbench.training.resolve import Request

PERILOUS = Path(__file__).parent / "perilous.py"
PATIENCE = 120
"""Seconds after which a test gives up: other processes may use the same cores."""


def job(rule: str = "bp", key: Any = None, **changes: Any) -> Job:
    """Return a small job; ``trial``, ``watch`` and ``seed`` go to it, the rest to its request."""
    of_job = {name: changes.pop(name) for name in ("trial", "watch", "seed") if name in changes}
    request = Request(rule, "digits", **{"epochs": 3, **changes})
    return Job(rule if key is None else key, request, **{"seed": 0, **of_job})


def drive(
    pool: Pool,
    *jobs: Job,
    answer: Callable[[Epoch], str | None] = lambda epoch: None,
    observe: Callable[[Event], None] = lambda event: None,
) -> dict[Any, list[Event]]:
    """Do jobs, as many at a time as there are workers, and return the events of each by key.

    Args:
        answer: returns the answer to an epoch of a watched job.
        observe: called with every event.
    """
    waiting, events_of = list(jobs), {job.key: [] for job in jobs}
    deadline = time.monotonic() + PATIENCE
    while waiting or not all(
        events and isinstance(events[-1], Ended) for events in events_of.values()
    ):
        while waiting and pool.idle():
            pool.submit(waiting.pop(0))
        for event in pool.events(1):
            events_of[event.key].append(event)
            observe(event)
            if isinstance(event, Epoch):
                pool.answer(event.key, answer(event))
        assert time.monotonic() < deadline, events_of
    return events_of


def only(events_of: dict[Any, list[Event]], kind: type[Any], key: Any = None) -> list[Any]:
    """Return the events of a kind, of the only job or of the one with this key."""
    (events,) = events_of.values() if key is None else [events_of[key]]
    return [event for event in events if isinstance(event, kind)]


def end(events_of: dict[Any, list[Event]], key: Any = None) -> Ended:
    """Return the last event of a job."""
    (ended,) = only(events_of, Ended, key)
    assert isinstance(ended, Ended)
    return ended


def process_of(ended: Ended) -> int:
    """Return the id of the process that last locked the run directory."""
    assert ended.run_dir is not None
    owner = read_json(ended.run_dir / "owner.json")
    assert owner is not None
    pid: int = owner["pid"]
    return pid
