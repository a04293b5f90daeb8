"""Processes forked from one that has imported PyTorch, lbench and its plugins already.

A new interpreter needs seconds for these imports; a fork needs a hundredth of one. What runs here
is a process in every other respect: it has its own memory and files, can be killed or
interrupted, and has an exit code. A test about starting an interpreter (what is imported, what
happens without a package, a closed standard stream) starts one.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing import context, forkserver
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest import mock

import filelock

from tests import mlflow_once

ROOT = Path(__file__).parents[1]
SERVER = forkserver._forkserver
LONGEST = 80
"""Characters of a folder in which a socket has a name that the system takes (of 107)."""


class Process(context.ForkServerProcess):
    """A forked process with the environment variables that its parent has at its start."""

    def start(self) -> None:
        """Start the process, and before the first one the server."""
        self.environment = dict(os.environ)
        self.template = mlflow_once.template
        start_server(self.template and self.template.parent)
        super().start()

    def run(self) -> None:
        """Do what the process is for."""
        take_environment(self.environment)
        use(self.template)
        if shareable(SERVER):  # it is there, although this process has not started it
            SERVER.ensure_running = lambda: None  # type: ignore[method-assign]
        super().run()


class Forked(context.ForkServerContext):
    """The server that forks; it starts with the first process."""

    Process = Process  # type: ignore[assignment]


CONTEXT = Forked()
CONTEXT.set_forkserver_preload(["tests.warm", "tests.forked"])
_running: set[Command] = set()


def shareable(server: Any) -> bool:
    """Whether processes can share a server: it has an address and a pipe, but no key.

    Python 3.14 gives it a key that only the process which has started it knows. Where this is
    false, every process has a server of its own.
    """
    known = {"_forkserver_address", "_forkserver_alive_fd"} <= vars(server).keys()
    # The pipe is opened through the folder in which Linux lists the files of a process.
    return known and "_forkserver_authkey" not in vars(server) and Path("/proc/self/fd").is_dir()


def start_server(folder: Path | None) -> None:
    """Start the server that forks, or share the one that another process has started.

    Args:
        folder: what all processes of a test run share; None for a server of this process.
    """
    if getattr(SERVER, "_forkserver_address", None) is not None:
        return
    # PyTorch in the server has one thread: a fork would not have the others.
    surroundings = contextlib.chdir(ROOT), mock.patch.dict(os.environ, OMP_NUM_THREADS="1")
    if folder is None or len(str(folder)) > LONGEST or not shareable(SERVER):
        with surroundings[0], surroundings[1]:
            SERVER.ensure_running()
        return
    there = folder / "server.json"
    with filelock.FileLock(f"{there}.lock"):
        if there.exists() and _share(**json.loads(there.read_text())):
            return
        # The socket must outlive the process that starts the server.
        place = mock.patch.dict(multiprocessing.current_process()._config, tempdir=str(folder))
        with surroundings[0], surroundings[1], place:
            SERVER.ensure_running()
        alive = f"/proc/{os.getpid()}/fd/{SERVER._forkserver_alive_fd}"
        there.write_text(json.dumps({"address": SERVER._forkserver_address, "alive": alive}))


def _share(address: str, alive: str) -> bool:
    """Use the server at an address; false when the process that started it has ended.

    Args:
        alive: where its end of the pipe is that keeps the server alive.
    """
    try:
        SERVER._forkserver_alive_fd = os.open(alive, os.O_WRONLY)
    except OSError:
        return False
    SERVER._forkserver_address = address
    SERVER.ensure_running = lambda: None  # type: ignore[method-assign]
    return True


def use(template: Path | None) -> None:
    """Fork the workers of pools too, and take MLflow's tables from this file."""
    from lbench.execute import pool

    pool.CONTEXT = CONTEXT  # type: ignore[assignment]
    mlflow_once.use(template)


def lbench() -> None:
    """What a command does unless it is asked for something else."""
    from lbench.cli.main import main

    main()


def testing() -> None:
    """Run pytest."""
    import pytest

    sys.exit(pytest.main())


class Command:
    """``lbench`` with some arguments in a forked process; used like ``subprocess.Popen``.

    Standard output and standard error go to files, so nothing waits for a reader.

    Args:
        words: the arguments of ``lbench``.
        env: the environment variables; None for those of this process.
        cwd: the working directory; None for that of this process.
        given: what it reads from its standard input.
        does: a function to call in place of ``lbench``.
    """

    def __init__(
        self,
        *words: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        given: str = "",
        does: Callable[[], None] = lbench,
    ) -> None:
        self._files = [tempfile.NamedTemporaryFile() for _ in range(3)]  # noqa: SIM115
        names = [file.name for file in self._files]
        Path(names[0]).write_text(given, encoding="utf-8")
        place = str(cwd or Path.cwd())
        self._process = CONTEXT.Process(target=_do, args=(does, words, names, env, place))
        self._process.start()
        _running.add(self)

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code; -N when signal N ended the process, None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit code, or None while the process runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, when the process has ended.

        Raises:
            subprocess.TimeoutExpired: it runs for longer than these seconds.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("lbench", timeout or 0.0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Standard output and standard error, when the process has ended."""
        self.wait(timeout)
        out, err = (Path(file.name).read_text(encoding="utf-8") for file in self._files[1:])
        return out, err

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, if it still runs."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended just now
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process: it has no say in it."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Kill the process if it still runs, and forget what it printed."""
        self.kill()
        self._process.join()
        for file in self._files:
            file.close()
        _running.discard(self)

    def __enter__(self) -> Command:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()


def run(*words: str, check: bool = False, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run a :class:`Command` to its end; used like ``subprocess.run``."""
    with Command(*words, **how) as command:
        out, err = command.communicate()
        assert command.returncode is not None
        done = subprocess.CompletedProcess(["lbench", *words], command.returncode, out, err)
    if check:
        assert done.returncode == 0, done.stderr
    return done


def _do(
    does: Callable[[], None],
    words: tuple[str, ...],
    files: list[str],
    env: Mapping[str, str] | None,
    cwd: str,
) -> None:
    """Do what a command is for, in the forked process."""
    # A server that was started while interrupts were blocked would pass that on.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    for number, name in enumerate(files):
        file = os.open(name, os.O_WRONLY | os.O_APPEND if number else os.O_RDONLY)
        os.dup2(file, number)
        os.close(file)
    stream = partial(open, encoding="utf-8", closefd=False)
    sys.stdin, sys.stdout = stream(0), stream(1, "w")
    sys.stderr = stream(2, "w", errors="backslashreplace", buffering=1)
    if env is not None:
        take_environment(env)
    os.chdir(cwd)
    sys.argv = ["lbench", *words]
    code: int | str | None = 0
    try:
        does()
    except SystemExit as ended:
        code = ended.code
    # A forked process ends without them.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.exit(code)


def take_environment(environment: Mapping[str, str]) -> None:
    """Have these environment variables, as if this interpreter had been started with them."""
    os.environ.clear()
    os.environ.update(environment)
    given = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [each for each in given if each and each not in sys.path]


@atexit.register
def _end_all() -> None:
    for command in list(_running):
        command.close()
