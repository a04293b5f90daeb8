"""Runs a study: hands out trials and final runs, and writes down what came of them."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

from lbench.errors import SYSTEM, DataError, LbenchError, LockedError
from lbench.execute.messages import Ended, Epoch, Event, Job, Note, Progress, Started
from lbench.execute.pool import Pool
from lbench.execute.writer import Writer
from lbench.home import Home
from lbench.registry import Registry
from lbench.run.resolve import Request
from lbench.rundir import RunDir
from lbench.store.journal import Journal
from lbench.store.rows import Member
from lbench.study.defaults import defaults, values_of
from lbench.study.definition import Point
from lbench.study.ledger import search_names
from lbench.study.point_runs import DEFAULTS, FINAL, PointRuns, objectives
from lbench.study.search import OptunaSearch, search_digest
from lbench.study.settings import request
from lbench.study.storage import storage
from lbench.study.study_plan import StudyPlan

Key = tuple[str, int, int]
"""Identifies a job: the point's key, the trial (or FINAL, DEFAULTS), the seed."""
WAIT = 0.2
"""Seconds between two looks at the clock while nothing happens."""


class Display(Protocol):
    """Who is told how a study goes on."""

    def search(self, key: str, ended: int, wanted: int, best: float | None) -> None:
        """A search has so many trials behind it."""

    def final(self, key: str, ended: int, wanted: int) -> None:
        """A point has so many final runs behind it."""

    def run(self, name: str, done: int, steps: int) -> None:
        """A run is at this step."""

    def over(self, name: str) -> None:
        """A run has ended."""

    def note(self, text: str) -> None:
        """Something that the user should know."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a study's run ended.

    Args:
        complete: nothing is left to do.
        stopped: why it was stopped before: ``interrupted`` or ``timeout``; None otherwise.
        trained: runs that ended now, and had not before.
        unfinished: final runs that diverged or failed, and points without any, with the reason.
    """

    complete: bool
    stopped: str | None
    trained: int
    unfinished: Mapping[str, str]


class Runner:
    """Drives a plan on a pool of workers; alone writes the store and Optuna.

    Args:
        plan: what is to be done.
        home: where.
        registry: knows the names.
        writer: of the store; None for none.
        display: told how it goes on.
        data_dir: where data is looked for first.
    """

    def __init__(
        self,
        plan: StudyPlan,
        home: Home,
        registry: Registry,
        writer: Writer | None,
        display: Display,
        *,
        data_dir: Path | None = None,
    ) -> None:
        self.plan = plan
        self.home = home
        self.registry = registry
        self.writer = writer
        self.display = display
        self.data_dir = data_dir
        self.study = plan.study
        self.stop: str | None = None
        self._searches = search_names(plan)
        self._storage = storage(home) if self.study.search else None
        self._journal = Journal(home, self.study.name)
        self._points = {point.key: self._work(point) for point in plan.points}
        self._order = deque(self._points)
        self._jobs: dict[Key, Job] = {}
        self._again: deque[Job] = deque()
        self._twins: deque[Job] = deque()
        self._cells: dict[Key, str] = {}
        self._publish: dict[str, None] = {}
        self._unfinished: dict[str, str] = {}
        self._trained = 0
        self._failure: LbenchError | None = None

    def _work(self, point: Point) -> PointRuns:
        searching = None
        if self.study.search is not None and self._storage is not None:
            name, space = self._searches[point.key], self.plan.spaces[point.key]
            before = defaults(self.plan.resolved[point.key].cell, space)
            searching = OptunaSearch(
                name, point, self.study.search, space, self._storage, self.registry, before
            )
        return PointRuns(point, searching, self.study.seeds)

    def run(self, pool: Pool, *, timeout: float | None = None) -> Ending:
        """Runs what is left to do.

        Args:
            timeout: seconds after which running jobs write a checkpoint and the rest is left.

        Raises:
            LbenchError: the disk is full or data has gone: what was running can be continued.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        asked = False
        self._show()
        if self.writer is not None:
            # What a driver that died had written down and not shown yet.
            cells = dict.fromkeys(member.cell for member in self._journal.read())
            self._publish |= dict.fromkeys(self.writer.unpublished(cells))
        self._submit(pool)
        while self._jobs:
            if time.monotonic() > deadline:
                self.stop = self.stop or "timeout"
            if self.stop is not None and not asked:
                asked = True
                pool.stop()
            events = pool.events(0 if self._publish else WAIT)
            # First whoever waits for an answer.
            for event in sorted(events, key=lambda event: not isinstance(event, Epoch)):
                self._take(event, pool)
            if not events:
                self._publish_one()
            self._submit(pool)
        while self._publish:
            self._publish_one()
        if self._failure is not None:
            raise self._failure
        without_best = [key for key, work in self._points.items() if work.without_best]
        self._unfinished |= dict.fromkeys(without_best, "no trial of its search is complete")
        self._unfinished |= {each.point.key: each.reason for each in self.plan.untrainable}
        complete = all(work.done for work in self._points.values())
        return Ending(complete, self.stop, self._trained, self._unfinished)

    def _submit(self, pool: Pool) -> None:
        """Give every idle worker a job, as long as there are some."""
        while self.stop is None and pool.idle() and (job := self._next()) is not None:
            self._jobs[cast(Key, job.key)] = job
            pool.submit(job)

    def _next(self) -> Job | None:
        """A job of the next point that has one: searches take turns, final runs do not."""
        for _ in range(len(self._twins)):
            twin = self._twins.popleft()
            if not self._running(twin):
                return twin
            self._twins.append(twin)
        for _ in range(len(self._order)):
            while self._order and self._points[self._order[0]].done:
                self._order.popleft()
            if not self._order:
                break
            work = self._points[self._order[0]]
            job = self._of(work)
            if job is not None and self._running(job):
                # Two points may have one cell: the second takes what the first has trained.
                self._twins.append(job)
            elif job is not None:
                return job
        return self._again.popleft() if self._again else None

    def _of(self, work: PointRuns) -> Job | None:
        """A job of a point; for its next trial the point goes behind the others."""
        if (final := work.next_final()) is not None:
            return self._final(work, *final)
        self._order.rotate(-1)
        if work.searching and (trial := work.searching.next()) is not None:
            return self._trial(work, *trial)
        return None

    def _running(self, job: Job) -> bool:
        """Whether a worker trains the same run for another point."""
        same = (job.request, job.seed)
        return any((each.request, each.seed) == same for each in self._jobs.values())

    def _trial(self, work: PointRuns, number: int, seed: int, params: Mapping[str, Any]) -> Job:
        search = self.study.search
        assert search is not None
        extra = dict(params)
        if search.epochs is not None:
            extra |= {"epochs": search.epochs, "examples": None}
        elif (budget := self.plan.budgets.get(work.point.key)) is not None:
            extra |= {"epochs": None, "examples": budget.trial}
        watched = search.pruning and len(search.objectives) == 1 and seed == 0
        asked = self._request(work, "strict", extra)
        return Job((work.point.key, number, seed), asked, seed, trial=True, watch=watched)

    def _final(self, work: PointRuns, kind: int, seed: int) -> Job:
        extra = dict(work.chosen) if kind == FINAL else {}
        if (budget := self.plan.budgets.get(work.point.key)) is not None:
            extra |= {"epochs": None, "examples": budget.final}
        asked = self._request(work, self.study.protocol, extra)
        # Probes look at what the study asks about.
        probes = self.study.probes if kind == FINAL else ()
        return Job((work.point.key, kind, seed), asked, seed, probes=probes)

    def _request(self, work: PointRuns, protocol: str, extra: Mapping[str, Any]) -> Request:
        asked = request(work.point, self.registry, protocol, extra)
        return replace(asked, data_dir=self.data_dir)

    def _take(self, event: Event, pool: Pool) -> None:
        key = cast(Key, event.key)
        name = self._name(key)
        if isinstance(event, Epoch):
            searching = self._points[key[0]].searching
            assert searching is not None
            epoch, error = event.row["epoch"], event.row["val_error"]
            pool.answer(key, searching.epoch(key[1], key[2], epoch, error))
        elif isinstance(event, Started):
            self._cells[key] = event.cell
            self._join(key, event)
            if self.writer is not None:
                self.writer.take(RunDir(event.run_dir))
        elif isinstance(event, Progress):
            self.display.run(name, event.done, event.steps)
        elif isinstance(event, Note):
            self.display.note(f"{name}: {event.text}")
        elif isinstance(event, Ended):
            self._end(key, event)
            self.display.over(name)

    def _join(self, key: Key, event: Started) -> None:
        work = self._points[key[0]]
        role, trial = "trial", key[1]
        if key[1] == FINAL:
            role, trial = "final", work.trial
        elif key[1] == DEFAULTS:
            role, trial = "defaults", FINAL
        search = search_digest(self._searches.get(key[0]))
        member = Member(self.study.name, key[0], role, trial, key[2], event.cell, event.run, search)
        self._journal.add(member)
        if self.writer is not None:
            self.writer.join([member])

    def _end(self, key: Key, event: Ended) -> None:
        work, job = self._points[key[0]], self._jobs.pop(key)
        if event.kind == LockedError.kind and self.stop is None:
            # Another process trains this very run.
            self._again.append(job)
            return
        status = self._status(event)
        if not event.cached and status != "killed":
            self._trained += 1
        if self.writer is not None and event.run_dir is not None and key in self._cells:
            self.writer.take(RunDir(event.run_dir))
            self._publish[self._cells[key]] = None
        if key[1] in (FINAL, DEFAULTS):
            self._end_final(key, event, status)
            return
        assert work.searching is not None
        values = objectives(event.result, event.run_dir) if status == "finished" else {}
        if work.searching.ended_seed(key[1], key[2], status, event.result["reason"], values):
            self._show_search(key[0], work.searching)

    def _status(self, event: Ended) -> str:
        """How a run ended: ``killed`` where it can go on; what stops a study stops it here."""
        if event.kind == LockedError.kind:
            return "killed"
        if event.kind in (DataError.kind, SYSTEM):
            # Not this run's fault, and the next ones would fail alike: it goes on another time.
            self._failure = self._failure or _failure(event)
            self.stop = self.stop or "failure"
            return "killed"
        if event.status == "killed" and self.stop is None:
            # Not because it was asked to: its worker died, and died again.
            return "failed"
        return event.status

    def _end_final(self, key: Key, event: Ended, status: str) -> None:
        """Count a run that is no trial, and say why it has not finished."""
        if status == "killed":
            return
        work = self._points[key[0]]
        work.ended += 1
        if status != "finished":
            how = f"{status}: {_with_traceback(event)}"
            self.display.note(f"{self._name(key)} {how}")
            if key[1] == FINAL:
                self._unfinished[self._name(key)] = how
        self.display.final(key[0], work.ended, work.wanted)

    def _publish_one(self) -> None:
        if self._publish and self.writer is not None:
            cell = next(iter(self._publish))
            del self._publish[cell]
            self.writer.publish(cell)

    def _show(self) -> None:
        for key, work in self._points.items():
            if work.searching is not None:
                self._show_search(key, work.searching)
            self.display.final(key, work.ended, work.wanted)

    def _show_search(self, key: str, searching: OptunaSearch) -> None:
        best = searching.best
        values = None if best is None else values_of(best)
        error = None if values is None else values[0]
        self.display.search(key, searching.ended, searching.wanted, error)

    def _name(self, key: Key) -> str:
        if key[1] in (FINAL, DEFAULTS):
            of = " defaults," if key[1] == DEFAULTS else ""
            return f"{key[0]}{of} seed {key[2]}"
        return f"{key[0]} trial {key[1]}" + (f", seed {key[2]}" if key[2] else "")


def _with_traceback(event: Ended) -> str:
    """Return why a run has not finished, and the file that has its traceback."""
    reason = event.result["reason"] or "no reason is known"
    traceback = None if event.run_dir is None else RunDir(event.run_dir).traceback
    return f"{reason}; traceback: {traceback}" if traceback and traceback.exists() else reason


def _failure(event: Ended) -> LbenchError:
    """Why nothing more can be trained."""
    cls = DataError if event.kind == DataError.kind else LbenchError
    hint = "What was trained is kept. When this is mended, the same command goes on from there."
    return cls(event.result["reason"] or "", hint)
