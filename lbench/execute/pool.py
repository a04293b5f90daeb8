"""A pool of warm workers on this machine: jobs go in, events come out; the driver trains nothing.

A worker is spawned, has one device, and does one job at a time. It is replaced when its process
dies, after many jobs, after one that did not end well, and when its memory has grown.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Hashable, Sequence
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from lbench.execute.messages import Answer, Ended, Event, Job, Note, Over, Started, Stop
from lbench.execute.worker import Setup, serve
from lbench.home import Home
from lbench.run.ending import ended
from lbench.threads import wait_passively

CONTEXT = multiprocessing.get_context("spawn")
"""How workers start: with an interpreter of their own, which inherits no threads and no locks."""
JOBS = 50
"""Jobs that a worker does before it is replaced."""
GROWTH_MIB = 512.0
"""How much more memory than after its first job a worker may have."""
TRIES = 2
"""How often a job is begun whose workers die."""
GRACE = 20.0
"""Seconds that workers have to write their checkpoints when the pool is closed."""


class Pool:
    """Warm workers; a context manager that leaves no process behind.

    Args:
        home: where runs lie.
        devices: one a worker, such as ``["cpu", "cpu"]`` or ``["cuda:0", "cuda:1"]``.
        threads: of torch on the CPU, per worker; None for as many as pay for each network.
        cores: per worker, where ``threads`` is None.
        checkpoint_every: seconds between checkpoints.
        plugin_files: plugins that are not installed.
        fresh: one process a job.
        patience: seconds to wait for a run that another process holds, such as a worker whose
            driver has just died.
    """

    def __init__(
        self,
        home: Home,
        devices: Sequence[str],
        *,
        threads: int | None = None,
        cores: int = 1,
        checkpoint_every: float = 30.0,
        plugin_files: Sequence[Path] = (),
        fresh: bool = False,
        patience: float = 30.0,
    ) -> None:
        files = tuple(path.resolve() for path in plugin_files)
        self._workers = [
            Worker(
                Setup(home, device, threads, cores, checkpoint_every, files, patience), fresh=fresh
            )
            for device in devices
        ]
        wait_passively()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, cause: type[BaseException] | None, *_: object) -> None:
        # Who interrupts a second time does not want to wait for checkpoints.
        grace = 0.0 if cause is KeyboardInterrupt else GRACE
        deadline = time.monotonic() + grace
        for worker in self._workers:
            worker.hang_up()
        for worker in self._workers:
            worker.end(deadline)

    def idle(self) -> int:
        """How many workers have no job."""
        return sum(worker.job is None for worker in self._workers)

    def submit(self, job: Job) -> None:
        """Gives a job to an idle worker; one that is warm already before others.

        Raises:
            RuntimeError: none is idle.
        """
        idle = [worker for worker in self._workers if worker.job is None]
        if not idle:
            raise RuntimeError("no worker is idle")
        max(idle, key=lambda worker: worker.warm).take(job)

    def events(self, timeout: float) -> list[Event]:
        """What has happened; waits until something does, or for so many seconds."""
        deadline = time.monotonic() + timeout
        while True:
            waiting = {each: worker for worker in self._workers for each in worker.handles()}
            left = max(0.0, deadline - time.monotonic())
            ready = connection.wait(list(waiting), left)
            found = []
            for worker in {waiting[each]: None for each in ready}:
                found += worker.hear()
            if found or not ready:
                return found

    def answer(self, key: Hashable, reason: str | None) -> None:
        """Answers an Epoch: None for going on, or why the run is pruned."""
        for worker in self._workers:
            if worker.job is not None and worker.job.key == key:
                worker.say(Answer(key, reason))

    def stop(self) -> None:
        """Asks all jobs for a checkpoint and an end; each is then told as Ended."""
        for worker in self._workers:
            if worker.job is not None:
                worker.stopping = True
                worker.say(Stop(worker.job.key))


class Worker:
    """The driver's side of a worker: a device, and a process while there is work."""

    def __init__(self, setup: Setup, *, fresh: bool) -> None:
        self.setup = setup
        self.fresh = fresh
        self.job: Job | None = None
        self.stopping = False
        self._process: SpawnProcess | None = None
        self._line: connection.Connection
        self._left: list[SpawnProcess] = []
        self._started: Started | None = None
        self._tries = 0
        self._jobs = 0
        self._first_mib: float | None = None

    @property
    def warm(self) -> bool:
        """Whether its process is there."""
        return self._process is not None

    def handles(self) -> list[Any]:
        """What becomes ready when there is something to hear."""
        return [] if self._process is None else [self._line, self._process.sentinel]

    def take(self, job: Job) -> None:
        """Begins a job."""
        self.job, self.stopping = job, False
        self._started, self._tries = None, 0
        self._begin(job)

    def say(self, message: Any) -> None:
        """Sends a message; one to a process that has died is lost, and heard of."""
        try:
            self._line.send(message)
        except OSError:
            return

    def hear(self) -> list[Event]:
        """What the process has said, and whether it has died."""
        process = self._process
        if process is None:
            return []
        alive = process.is_alive()  # asked before: what it said at last is heard all the same
        found: list[Event] = []
        try:
            while self._process is process and self._line.poll():
                found += self._understood(self._line.recv())
        except (EOFError, OSError):
            alive = False
        if not alive and self._process is process:
            found += self._died(process)
        return found

    def hang_up(self) -> None:
        """Lets the process end: at once, or when it has written a checkpoint."""
        if self._process is not None:
            self._line.close()
            self._left.append(self._process)
            self._process = None

    def end(self, deadline: float) -> None:
        """Waits until its processes have ended, and ends those that take too long."""
        for process in self._left:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def _begin(self, job: Job) -> None:
        if self._process is None:
            self._spawn()
        self._tries += 1
        self.say(job)

    def _spawn(self) -> None:
        self._line, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=serve, args=(theirs, self.setup), name="lbench worker")
        # An interrupt from the keyboard goes to all processes, and this one has no say in it yet.
        # The tracker that spawning needs would unblock it again.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        # Ours alone is open here: when it dies, its end of the line is closed.
        theirs.close()
        self._process = process
        self._jobs, self._first_mib = 0, None
        self._left = [each for each in self._left if each.is_alive()]

    def _understood(self, message: Any) -> list[Event]:
        job = self.job
        assert job is not None
        if not isinstance(message, Over):
            if isinstance(message, Started):
                self._started = message
            return [message]
        self._jobs += 1
        memory = message.memory_mib
        self._first_mib = memory if self._first_mib is None else self._first_mib
        grown = memory is not None and memory - (self._first_mib or memory) > GROWTH_MIB
        how = message.ended
        well = how.status in ("finished", "pruned", "diverged") or how.kind is not None
        if self.fresh or self._jobs >= JOBS or grown or not well:
            self.hang_up()
        if how.status == "killed" and not self.stopping:
            return self._again(job, "was told to end")
        self.job = None
        return [how]

    def _died(self, process: SpawnProcess) -> list[Event]:
        self.hang_up()
        process.join(GRACE)  # its end of the line may be closed before it is gone
        job, code = self.job, process.exitcode or 0
        if job is None:
            return []
        return self._again(job, f"died: signal {-code}" if code < 0 else f"died: exit code {code}")

    def _again(self, job: Job, how: str) -> list[Event]:
        """Once more from the checkpoint; that a worker dies need not be the job's fault."""
        if self._tries < TRIES and not self.stopping:
            self._begin(job)
            return [Note(job.key, f"Its worker {how}; another goes on.")]
        self.job = None
        reason = "interrupted" if self.stopping else f"worker {how}"
        found = self._started
        return [
            Ended(
                job.key,
                "killed",
                ended("killed", reason),
                None if found is None else found.run_dir,
                cached=False,
                attempt=None if found is None else found.attempt,
            )
        ]
