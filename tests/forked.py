"""Processes that are forked from a server which has imported PyTorch, lbench and its plugins.

A new interpreter needs seconds for these imports, a fork a hundredth of a second. In every other
respect a fork is a process: it has its own memory and files, can be killed or interrupted, and has
an exit code. A test of the start of an interpreter (which modules are imported, a missing package,
a closed standard stream) starts one.
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
"""Longest path of a folder in which the name of a socket fits into the system's 107 characters."""


class Process(context.ForkServerProcess):
    """A forked process with the environment variables of its parent at its start."""

    def start(self) -> None:
        """Start the server if it is not running, then the process."""
        self.environment = dict(os.environ)
        self.template = mlflow_once.template
        start_server(self.template and self.template.parent)
        super().start()

    def run(self) -> None:
        """Run the target of the process."""
        take_environment(self.environment)
        use(self.template)
        if shareable(SERVER):  # the server runs, although this process has not started it
            SERVER.ensure_running = lambda: None  # type: ignore[method-assign]
        super().run()


class Forked(context.ForkServerContext):
    """The context of forked processes; its server starts with the first process."""

    Process = Process  # type: ignore[assignment]


CONTEXT = Forked()
CONTEXT.set_forkserver_preload(["tests.warm", "tests.forked"])
_running: set[Command] = set()


def shareable(server: Any) -> bool:
    """Return whether processes can share a server: it has an address and a pipe, but no key.

    In Python 3.14 it has a key that only the process knows which has started it. Then every
    process has a server of its own.
    """
    known = {"_forkserver_address", "_forkserver_alive_fd"} <= vars(server).keys()
    # The pipe is opened through the folder in which Linux lists the files of a process.
    return known and "_forkserver_authkey" not in vars(server) and Path("/proc/self/fd").is_dir()


def start_server(folder: Path | None) -> None:
    """Start the server, or share the one that another process has started.

    Args:
        folder: a folder that all processes of a test run share; None for a server of this process.
    """
    if getattr(SERVER, "_forkserver_address", None) is not None:
        return
    # PyTorch in the server has one thread, because a fork does not have the others.
    surroundings = contextlib.chdir(ROOT), mock.patch.dict(os.environ, OMP_NUM_THREADS="1")
    if folder is None or len(str(folder)) > LONGEST or not shareable(SERVER):
        with surroundings[0], surroundings[1]:
            SERVER.ensure_running()
        return
    record = folder / "server.json"
    with filelock.FileLock(f"{record}.lock"):
        if record.exists() and _share(**json.loads(record.read_text())):
            return
        # The socket must outlive the process that starts the server.
        config = multiprocessing.current_process()._config
        with surroundings[0], surroundings[1], mock.patch.dict(config, tempdir=str(folder)):
            SERVER.ensure_running()
        alive = f"/proc/{os.getpid()}/fd/{SERVER._forkserver_alive_fd}"
        record.write_text(json.dumps({"address": SERVER._forkserver_address, "alive": alive}))


def _share(address: str, alive: str) -> bool:
    """Use the server at an address; return False if the process that started it has ended.

    Args:
        address: the server's address.
        alive: path of the end of the pipe that keeps the server alive.
    """
    try:
        SERVER._forkserver_alive_fd = os.open(alive, os.O_WRONLY)
    except OSError:
        return False
    SERVER._forkserver_address = address
    SERVER.ensure_running = lambda: None  # type: ignore[method-assign]
    return True


def use(template: Path | None) -> None:
    """Fork the workers of pools too, and copy MLflow's tables from this file."""
    from lbench.execute import pool

    pool.CONTEXT = CONTEXT  # type: ignore[assignment]
    mlflow_once.use(template)


def lbench() -> None:
    """Run the command line of lbench."""
    from lbench.cli.main import main

    main()


def testing() -> None:
    """Run pytest."""
    import pytest

    sys.exit(pytest.main())


class Command:
    """``lbench`` with arguments in a forked process; used like ``subprocess.Popen``.

    Standard output and standard error go to files, so that no output waits for a reader.

    Args:
        words: the arguments of ``lbench``.
        env: the environment variables; None for those of this process.
        cwd: the working directory; None for that of this process.
        given: the content of its standard input.
        does: a function to call instead of ``lbench``.
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
        directory = str(cwd or Path.cwd())
        self._process = CONTEXT.Process(target=_do, args=(does, words, names, env, directory))
        self._process.start()
        _running.add(self)

    @property
    def pid(self) -> int:
        """Return the id of the process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Return the exit code; -N if signal N ended the process, None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process, and return the exit code.

        Raises:
            subprocess.TimeoutExpired: it runs for longer than ``timeout`` seconds.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("lbench", timeout or 0.0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end of the process, and return standard output and standard error."""
        self.wait(timeout)
        out, err = (Path(file.name).read_text(encoding="utf-8") for file in self._files[1:])
        return out, err

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, if it still runs."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended just now
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process with SIGKILL, which it cannot handle."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Kill the process if it still runs, and remove its output."""
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
    """Run a command in the forked process."""
    # A process inherits blocked interrupts from a server that was started while they were blocked.
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
    # A forked process does not call these at its end.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.exit(code)


def take_environment(environment: Mapping[str, str]) -> None:
    """Set these environment variables, as if this interpreter had been started with them."""
    os.environ.clear()
    os.environ.update(environment)
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [path for path in paths if path and path not in sys.path]


@atexit.register
def _end_all() -> None:
    for command in list(_running):
        command.close()
