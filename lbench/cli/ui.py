"""``lbench ui``: the MLflow UI on the store."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO, Any

import click

from lbench.api.progress import say
from lbench.cli.common import home_option
from lbench.errors import StoreError, UsageError
from lbench.home import Home

START_SECONDS, STOP_SECONDS = 120, 5


@click.command("ui", epilog="Example: lbench ui --port 8080")
@home_option
@click.option(
    "--port",
    metavar="N",
    default=5000,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Port of the server.",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Address on which the server listens; 0.0.0.0 also serves other machines.",
)
def command(home: Home, port: int, host: str) -> None:
    """Serve the runs in the MLflow UI, until Ctrl-C."""
    from lbench.store.read_access import read_access

    with _interrupt_on_sigterm(), read_access(home) as readable:
        page = _page(readable)
        _check_port(host, port, home)
        if readable.copies:
            say(f"{home.root} is not writable: changes that you make in the UI are lost.\n")
        _serve(readable, host, port, page)


def _serve(home: Home, host: str, port: int, page: str) -> None:
    with tempfile.TemporaryFile() as log, _server(home, host, port, log) as server:
        try:
            _wait_until_ready(server, host, port, log)
            click.echo(
                f"MLflow shows the runs of {home.root} on http://{_address(host)}:{port}{page}"
            )
            say("Press Ctrl-C to stop the server.\n")
            server.wait()
        except KeyboardInterrupt:
            return
        raise _server_error(server, log)


def _page(home: Home) -> str:
    """Return the path of the page that shows the runs.

    Raises:
        UsageError: there is nothing to show; the hint says what to run.
    """
    from lbench.store.mlflow_artifacts import rebase
    from lbench.store.mlflow_page import runs_page
    from lbench.store.run_dirs import check_store

    check_store(home)
    if not home.has_store():
        raise UsageError(
            f"There is nothing to show: no store at {home.store_file}.",
            "Train something first: lbench run --rule bp --dataset digits. If the runs are in "
            "another directory, name it with --home.",
        )
    page = runs_page(home)
    if page is None:
        raise UsageError(
            "There is nothing to show: the store has no MLflow tables yet.",
            f"Create them from the run directories with: lbench sync{home.option}",
        )
    rebase(home)
    return page


def _check_port(host: str, port: int, home: Home) -> None:
    problem = _port_problem(host, port)
    if problem is None:
        return
    others = range(port + 1, 65536)
    free = next((other for other in others if _port_problem(host, other) is None), None)
    hint = (
        f"Port {free} is free: lbench ui --port {free}{home.option}"
        if free
        else "Name another --host."
    )
    raise UsageError(f"Port {port} of {host} cannot be used: {problem}.", hint)


def _port_problem(host: str, port: int) -> str | None:
    """Return why a port cannot be used; None if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return None


@contextmanager
def _interrupt_on_sigterm() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C, so that the server ends with this process."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _server(home: Home, host: str, port: int, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Start MLflow's server in a process group of its own, and end the whole group at the end."""
    from lbench.store.mlflow_page import mlflow_uri

    options = {
        "--default-artifact-root": home.artifacts.as_uri(),
        "--host": host,
        "--port": str(port),
        "--workers": "1",
    }
    environment = {
        **os.environ,
        # Not an option: the URI may contain a password, and command lines are public.
        "MLFLOW_BACKEND_STORE_URI": mlflow_uri(home),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Background jobs are for evaluating language models: four more processes.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    arguments = [word for option in options.items() for word in option]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        yield server
    finally:
        _stop(server)


def _stop(server: subprocess.Popen[bytes]) -> None:
    # A second Ctrl-C must not leave the server running.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, kind)
        except ProcessLookupError:
            break
        until = time.monotonic() + STOP_SECONDS
        while _group_is_running(server) and time.monotonic() < until:
            time.sleep(0.02)
    server.wait()
    signal.signal(signal.SIGINT, before)


def _group_is_running(server: subprocess.Popen[bytes]) -> bool:
    server.poll()
    try:
        os.killpg(server.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _wait_until_ready(server: subprocess.Popen[Any], host: str, port: int, log: IO[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    # A proxy of the environment cannot reach this machine's own address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None and time.monotonic() < until:
        try:
            with opener.open(f"http://{_address(host)}:{port}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise _server_error(server, log)


def _server_error(server: subprocess.Popen[Any], log: IO[bytes]) -> StoreError:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    last = "\n".join(lines[-5:])
    code = server.poll()
    reason = "did not start in time" if code is None else f"ended with exit code {code}"
    return StoreError(
        f"The MLflow server {reason}. Its last output:\n{last}", "Try another --port."
    )


def _address(host: str) -> str:
    """Return the host as it is written in a URL on this machine."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
