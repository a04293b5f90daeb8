"""A pool of warm workers on this machine: jobs go in, events come out; the driver trains nothing.

A worker is spawned, has one device, and does one job at a time. It is replaced when its process
dies, after many jobs, after a job that failed in it, and when its memory has grown.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Hashable, Sequence
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from lbench.execute.messages import Ended, EpochAnswer, Event, Job, JobDone, Note, Started, Stop
from lbench.execute.worker import Setup, serve
from lbench.home import Home
from lbench.processes import starting_processes
from lbench.threads import wait_passively
from lbench.training.results import empty_result

CONTEXT = multiprocessing.get_context("spawn")
"""Workers start with an interpreter of their own, which inherits no threads and no locks."""
JOBS = 50
"""Jobs that a worker does before it is replaced."""
GROWTH_MIB = 512.0
"""Memory that a worker may have more than after its first job."""
TRIES = 2
"""Number of workers that try a job if they die."""
GRACE = 20.0
"""Seconds that workers have to write their checkpoints when the pool is closed."""


class Pool:
    """Warm workers; a context manager that leaves no process behind.

    Args:
        home: home of the runs.
        devices: one device per worker, such as ``["cpu", "cpu"]`` or ``["cuda:0", "cuda:1"]``.
        threads: threads of PyTorch on the CPU, per worker; None chooses the number by each
            network's size.
        cores: cores per worker, used if ``threads`` is None.
        checkpoint_every: seconds between checkpoints; None for as many as cost little.
        plugin_files: plugins that are not installed.
        fresh: whether each job gets a new process.
        patience: seconds to wait for a run that another process has locked, such as a worker whose
            driver has just died.
        loader_workers: processes per worker that decode streamed images; None for ``cores``.
    """

    def __init__(
        self,
        home: Home,
        devices: Sequence[str],
        *,
        threads: int | None = None,
        cores: int = 1,
        checkpoint_every: float | None = None,
        plugin_files: Sequence[Path] = (),
        fresh: bool = False,
        patience: float = 30.0,
        loader_workers: int | None = None,
    ) -> None:
        files = tuple(path.resolve() for path in plugin_files)
        setups = [
            Setup(home, device, threads, cores, checkpoint_every, files, patience, loader_workers)
            for device in devices
        ]
        self._workers = [Worker(setup, fresh=fresh) for setup in setups]
        wait_passively()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, cause: type[BaseException] | None, *_: object) -> None:
        # A user who interrupts a second time does not want to wait for checkpoints.
        grace = 0.0 if cause is KeyboardInterrupt else GRACE
        deadline = time.monotonic() + grace
        for worker in self._workers:
            worker.disconnect()
        for worker in self._workers:
            worker.end(deadline)

    def idle(self) -> int:
        """Return the number of workers without a job."""
        return sum(worker.job is None for worker in self._workers)

    def submit(self, job: Job) -> None:
        """Give a job to an idle worker, preferably to one with a process.

        Raises:
            RuntimeError: no worker is idle.
        """
        idle = [worker for worker in self._workers if worker.job is None]
        if not idle:
            raise RuntimeError("no worker is idle")
        max(idle, key=lambda worker: worker.warm).begin(job)

    def events(self, timeout: float) -> list[Event]:
        """Wait for events for at most ``timeout`` seconds, and return them."""
        deadline = time.monotonic() + timeout
        while True:
            workers = {handle: worker for worker in self._workers for handle in worker.handles()}
            left = max(0.0, deadline - time.monotonic())
            ready = connection.wait(list(workers), left)
            events = []
            for worker in {workers[handle]: None for handle in ready}:
                events += worker.receive()
            if events or not ready:
                return events

    def answer(self, key: Hashable, reason: str | None) -> None:
        """Answer an Epoch with the reason why the run is pruned, or None to continue."""
        for worker in self._workers:
            if worker.job is not None and worker.job.key == key:
                worker.send(EpochAnswer(key, reason))

    def stop(self) -> None:
        """Request a checkpoint and the end of all jobs; an Ended follows for each."""
        for worker in self._workers:
            if worker.job is not None:
                worker.stopping = True
                worker.send(Stop(worker.job.key))


class Worker:
    """The driver's view of a worker: a device, and a process while there is work."""

    def __init__(self, setup: Setup, *, fresh: bool) -> None:
        self.setup = setup
        self.fresh = fresh
        self.job: Job | None = None
        self.stopping = False
        self._process: SpawnProcess | None = None
        self._connection: connection.Connection
        self._disconnected: list[SpawnProcess] = []
        self._started: Started | None = None
        self._tries = 0
        self._jobs = 0
        self._first_mib: float | None = None

    @property
    def warm(self) -> bool:
        """Return whether the worker has a process."""
        return self._process is not None

    def handles(self) -> list[Any]:
        """Return the objects that become ready when there is a message or the process has died."""
        return [] if self._process is None else [self._connection, self._process.sentinel]

    def begin(self, job: Job) -> None:
        """Begin a job."""
        self.job, self.stopping = job, False
        self._started, self._tries = None, 0
        self._try(job)

    def send(self, message: Any) -> None:
        """Send a message; if the process has died it is lost, and ``receive`` notices the death."""
        try:
            self._connection.send(message)
        except OSError:
            return

    def receive(self) -> list[Event]:
        """Return the events that the process has sent, and those of its death."""
        process = self._process
        if process is None:
            return []
        alive = process.is_alive()  # checked first, so that its last messages are received too
        events: list[Event] = []
        try:
            while self._process is process and self._connection.poll():
                events += self._handle(self._connection.recv())
        except (EOFError, OSError):
            alive = False
        if not alive and self._process is process:
            events += self._died(process)
        return events

    def disconnect(self) -> None:
        """Let the process end: at once, or when it has written a checkpoint."""
        if self._process is not None:
            self._connection.close()
            self._disconnected.append(self._process)
            self._process = None

    def end(self, deadline: float) -> None:
        """Wait until the processes have ended, and kill those that are alive at the deadline."""
        for process in self._disconnected:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def _try(self, job: Job) -> None:
        if self._process is None:
            self._spawn()
        self._tries += 1
        self.send(job)

    def _spawn(self) -> None:
        self._connection, worker_end = CONTEXT.Pipe()
        process = CONTEXT.Process(target=serve, args=(worker_end, self.setup), name="lbench worker")
        with starting_processes():
            process.start()
        # The worker then has the only open copy of its end, which closes when the worker dies.
        worker_end.close()
        self._process = process
        self._jobs, self._first_mib = 0, None
        self._disconnected = [other for other in self._disconnected if other.is_alive()]

    def _handle(self, message: Any) -> list[Event]:
        job = self.job
        assert job is not None
        if not isinstance(message, JobDone):
            if isinstance(message, Started):
                self._started = message
            return [message]
        self._jobs += 1
        memory = message.memory_mib
        self._first_mib = memory if self._first_mib is None else self._first_mib
        grown = memory is not None and memory - (self._first_mib or memory) > GROWTH_MIB
        ended = message.ended
        well = ended.status in ("finished", "pruned", "diverged") or ended.kind is not None
        if self.fresh or self._jobs >= JOBS or grown or not well:
            self.disconnect()
        if ended.status == "killed" and not self.stopping:
            return self._try_again(job, "received a signal to end")
        self.job = None
        return [ended]

    def _died(self, process: SpawnProcess) -> list[Event]:
        self.disconnect()
        process.join(GRACE)  # its end of the pipe may be closed before the process has ended
        job, code = self.job, process.exitcode or 0
        if job is None:
            return []
        how = f"died: signal {-code}" if code < 0 else f"died: exit code {code}"
        return self._try_again(job, how)

    def _try_again(self, job: Job, how: str) -> list[Event]:
        """Give the job to another process, or end it; a worker's death need not be its fault."""
        if self._tries < TRIES and not self.stopping:
            self._try(job)
            return [Note(job.key, f"Its worker {how}; another continues.")]
        self.job = None
        reason = "interrupted" if self.stopping else f"worker {how}"
        started = self._started
        return [
            Ended(
                job.key,
                "killed",
                empty_result("killed", reason),
                None if started is None else started.run_dir,
                cached=False,
                attempt=None if started is None else started.attempt,
            )
        ]
