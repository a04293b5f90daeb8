"""Runner of a study: gives trials and final runs to worker processes and records results."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

from lbench.errors import SYSTEM, DataError, LbenchError, LockedError
from lbench.execute.messages import Ended, Epoch, Event, Job, Note, Started, StepProgress
from lbench.execute.pool import Pool
from lbench.execute.writer import Writer
from lbench.home import Home
from lbench.registry import Registry
from lbench.rundir import RunDir
from lbench.store.memberships import Memberships
from lbench.store.rows import Member
from lbench.studies.defaults import defaults, values_of
from lbench.studies.definition import Point
from lbench.studies.ledger import search_names
from lbench.studies.point_runs import DEFAULTS, FINAL, PointRuns, objectives
from lbench.studies.search import OptunaSearch, search_digest
from lbench.studies.settings import request
from lbench.studies.storage import storage
from lbench.studies.study_plan import StudyPlan
from lbench.training.resolve import Request

Key = tuple[str, int, int]
"""Key of a job: the key of the point, the trial (or FINAL, DEFAULTS) and the seed."""
WAIT = 0.2
"""Seconds between two checks of the clock while no event arrives."""


class Display(Protocol):
    """Receiver of a study's progress."""

    def search(self, key: str, ended: int, wanted: int, best: float | None) -> None:
        """Show the number of ended trials of a search and its best value so far."""

    def final(self, key: str, ended: int, wanted: int) -> None:
        """Show the number of ended final runs at a point."""

    def run(self, name: str, done: int, steps: int, left: float | None = None) -> None:
        """Show the current step of a run, and the seconds that are left."""

    def over(self, name: str) -> None:
        """Remove a run that has ended."""

    def note(self, text: str) -> None:
        """Show a message to the user."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Outcome of a call of :meth:`Runner.run`.

    Args:
        complete: whether all trials and final runs have ended.
        stopped: why the study was stopped early: ``interrupted`` or ``timeout``; None otherwise.
        trained: number of runs that ended in this call.
        unfinished: final runs that diverged or failed, and points without any, with the reason.
    """

    complete: bool
    stopped: str | None
    trained: int
    unfinished: Mapping[str, str]


class Runner:
    """Runs a plan on a pool of worker processes.

    It is the only part of a study that writes to the store and to Optuna's storage.

    Args:
        plan: the plan.
        home: home directory.
        registry: installed rules, networks, datasets and probes.
        writer: writer of the store; None for none.
        display: receives the progress.
        data_dir: data directory that is searched first.
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
        self._memberships = Memberships(home, self.study.name)
        self._point_runs = {point.key: self._make_point_runs(point) for point in plan.points}
        self._order = deque(self._point_runs)
        self._jobs: dict[Key, Job] = {}
        self._locked_jobs: deque[Job] = deque()
        self._duplicates: deque[Job] = deque()
        self._cells: dict[Key, str] = {}
        self._publish: dict[str, None] = {}
        self._unfinished: dict[str, str] = {}
        self._trained = 0
        self._failure: LbenchError | None = None

    def _make_point_runs(self, point: Point) -> PointRuns:
        search = None
        if self.study.search is not None and self._storage is not None:
            name, space = self._searches[point.key], self.plan.spaces[point.key]
            trial_0 = defaults(self.plan.resolved[point.key].cell, space)
            search = OptunaSearch(
                name, point, self.study.search, space, self._storage, self.registry, trial_0
            )
        return PointRuns(point, search, self.study.seeds)

    def run(self, pool: Pool, *, timeout: float | None = None) -> Ending:
        """Run all trials and final runs that have not ended yet.

        Args:
            pool: worker processes.
            timeout: seconds after which running jobs write a checkpoint and no others begin.

        Raises:
            LbenchError: the disk is full or data is missing; running jobs can be continued.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        stopping = False
        self._show()
        if self.writer is not None:
            # Runs that an earlier, killed driver has recorded but not published to MLflow.
            cells = dict.fromkeys(member.cell for member in self._memberships.read())
            self._publish |= dict.fromkeys(self.writer.unpublished(cells))
        self._submit(pool)
        while self._jobs:
            if time.monotonic() > deadline:
                self.stop = self.stop or "timeout"
            if self.stop is not None and not stopping:
                stopping = True
                pool.stop()
            events = pool.events(0 if self._publish else WAIT)
            # Epoch events first: their worker processes wait for an answer.
            for event in sorted(events, key=lambda event: not isinstance(event, Epoch)):
                self._take(event, pool)
            if not events:
                self._publish_one()
            self._submit(pool)
        while self._publish:
            self._publish_one()
        if self._failure is not None:
            raise self._failure
        without_best = [
            key for key, point_runs in self._point_runs.items() if point_runs.without_best
        ]
        self._unfinished |= dict.fromkeys(without_best, "no trial of its search is complete")
        self._unfinished |= {p.point.key: p.reason for p in self.plan.untrainable}
        complete = all(point_runs.done for point_runs in self._point_runs.values())
        return Ending(complete, self.stop, self._trained, self._unfinished)

    def _submit(self, pool: Pool) -> None:
        """Give each idle worker process a job, as long as there are jobs."""
        while self.stop is None and pool.idle() and (job := self._next()) is not None:
            self._jobs[cast(Key, job.key)] = job
            pool.submit(job)

    def _next(self) -> Job | None:
        """Return the next job, or None; searches take turns, final runs do not."""
        for _ in range(len(self._duplicates)):
            job = self._duplicates.popleft()
            if not self._running(job):
                return job
            self._duplicates.append(job)
        for _ in range(len(self._order)):
            while self._order and self._point_runs[self._order[0]].done:
                self._order.popleft()
            if not self._order:
                break
            point_runs = self._point_runs[self._order[0]]
            next_job = self._next_of(point_runs)
            if next_job is not None and self._running(next_job):
                # Two points may have the same configuration: the second uses the run of the first.
                self._duplicates.append(next_job)
            elif next_job is not None:
                return next_job
        return self._locked_jobs.popleft() if self._locked_jobs else None

    def _next_of(self, point_runs: PointRuns) -> Job | None:
        """Return the next job of a point, or None; after a trial it is the other points' turn."""
        if (final := point_runs.next_final()) is not None:
            return self._final(point_runs, *final)
        self._order.rotate(-1)
        if point_runs.search and (trial := point_runs.search.next()) is not None:
            return self._trial(point_runs, *trial)
        return None

    def _running(self, job: Job) -> bool:
        """Return whether a worker process trains the same run for another point."""
        same = (job.request, job.seed)
        return any((other.request, other.seed) == same for other in self._jobs.values())

    def _trial(
        self, point_runs: PointRuns, number: int, seed: int, params: Mapping[str, Any]
    ) -> Job:
        search = self.study.search
        assert search is not None
        extra = dict(params)
        if search.epochs is not None:
            extra |= {"epochs": search.epochs, "examples": None}
        elif (budget := self.plan.budgets.get(point_runs.point.key)) is not None:
            extra |= {"epochs": None, "examples": budget.trial}
        watched = search.pruning and len(search.objectives) == 1 and seed == 0
        wanted = self._request(point_runs, "strict", extra)
        return Job((point_runs.point.key, number, seed), wanted, seed, trial=True, watch=watched)

    def _final(self, point_runs: PointRuns, kind: int, seed: int) -> Job:
        extra = dict(point_runs.chosen) if kind == FINAL else {}
        if (budget := self.plan.budgets.get(point_runs.point.key)) is not None:
            extra |= {"epochs": None, "examples": budget.final}
        wanted = self._request(point_runs, self.study.protocol, extra)
        # Probes measure the chosen settings, which the question is about, not the defaults.
        probes = self.study.probes if kind == FINAL else ()
        return Job((point_runs.point.key, kind, seed), wanted, seed, probes=probes)

    def _request(self, point_runs: PointRuns, protocol: str, extra: Mapping[str, Any]) -> Request:
        wanted = request(point_runs.point, self.registry, protocol, extra)
        return replace(wanted, data_dir=self.data_dir)

    def _take(self, event: Event, pool: Pool) -> None:
        key = cast(Key, event.key)
        name = self._name(key)
        if isinstance(event, Epoch):
            search = self._point_runs[key[0]].search
            assert search is not None
            epoch, error = event.row["epoch"], event.row["val_error"]
            pool.answer(key, search.report_epoch(key[1], key[2], epoch, error))
        elif isinstance(event, Started):
            self._cells[key] = event.cell
            self._join(key, event)
            if self.writer is not None:
                self.writer.take(RunDir(event.run_dir))
        elif isinstance(event, StepProgress):
            self.display.run(name, event.done, event.steps, event.left)
        elif isinstance(event, Note):
            self.display.note(f"{name}: {event.text}")
        elif isinstance(event, Ended):
            self._end(key, event)
            self.display.over(name)

    def _join(self, key: Key, event: Started) -> None:
        point_runs = self._point_runs[key[0]]
        role, trial = "trial", key[1]
        if key[1] == FINAL:
            role, trial = "final", point_runs.trial
        elif key[1] == DEFAULTS:
            role, trial = "defaults", FINAL
        digest = search_digest(self._searches.get(key[0]))
        member = Member(self.study.name, key[0], role, trial, key[2], event.cell, event.run, digest)
        self._memberships.add(member)
        if self.writer is not None:
            self.writer.join([member])

    def _end(self, key: Key, event: Ended) -> None:
        point_runs, job = self._point_runs[key[0]], self._jobs.pop(key)
        if event.kind == LockedError.kind and self.stop is None:
            # Another process trains this run.
            self._locked_jobs.append(job)
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
        assert point_runs.search is not None
        values = objectives(event.result, event.run_dir) if status == "finished" else {}
        if point_runs.search.end_run(key[1], key[2], status, event.result["reason"], values):
            self._show_search(key[0], point_runs.search)

    def _status(self, event: Ended) -> str:
        """Return the status of an ended run, ``killed`` if it can be continued.

        An error that later runs would have too, such as a full disk, stops the study.
        """
        if event.kind == LockedError.kind:
            return "killed"
        if event.kind in (DataError.kind, SYSTEM):
            # The run is not the cause, and the next ones would fail too: it is continued later.
            self._failure = self._failure or _failure(event)
            self.stop = self.stop or "failure"
            return "killed"
        if event.status == "killed" and self.stop is None:
            # The study did not stop it: its worker process died twice.
            return "failed"
        return event.status

    def _end_final(self, key: Key, event: Ended, status: str) -> None:
        """Count an ended run that is no trial, and report why it has not finished."""
        if status == "killed":
            return
        point_runs = self._point_runs[key[0]]
        point_runs.ended += 1
        if status != "finished":
            reason = f"{status}: {_with_traceback(event)}"
            self.display.note(f"{self._name(key)} {reason}")
            if key[1] == FINAL:
                self._unfinished[self._name(key)] = reason
        self.display.final(key[0], point_runs.ended, point_runs.wanted)

    def _publish_one(self) -> None:
        if self._publish and self.writer is not None:
            cell = next(iter(self._publish))
            del self._publish[cell]
            self.writer.publish(cell)

    def _show(self) -> None:
        for key, point_runs in self._point_runs.items():
            if point_runs.search is not None:
                self._show_search(key, point_runs.search)
            self.display.final(key, point_runs.ended, point_runs.wanted)

    def _show_search(self, key: str, search: OptunaSearch) -> None:
        best = search.best
        values = None if best is None else values_of(best)
        error = None if values is None else values[0]
        self.display.search(key, search.ended, search.wanted, error)

    def _name(self, key: Key) -> str:
        if key[1] in (FINAL, DEFAULTS):
            kind = " defaults," if key[1] == DEFAULTS else ""
            return f"{key[0]}{kind} seed {key[2]}"
        return f"{key[0]} trial {key[1]}" + (f", seed {key[2]}" if key[2] else "")


def _with_traceback(event: Ended) -> str:
    """Return why a run has not finished, and the file with its traceback."""
    reason = event.result["reason"] or "no reason is known"
    traceback = None if event.run_dir is None else RunDir(event.run_dir).traceback
    return f"{reason}; traceback: {traceback}" if traceback and traceback.exists() else reason


def _failure(event: Ended) -> LbenchError:
    """Return the error for which the study stopped."""
    cls = DataError if event.kind == DataError.kind else LbenchError
    hint = "All results are kept. Solve the problem, then the same command continues the study."
    return cls(event.result["reason"] or "", hint)
