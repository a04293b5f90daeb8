"""Small studies of digits, and commands in this process or in a process of their own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from lbench.cli.main import main
from lbench.home import Home
from lbench.studies.definition import Arm, Study
from tests.forked import Command

LBENCH = [sys.executable, "-c", "from lbench.cli.main import main; main()"]
ALONE = ["--workers", "1", "--threads", "1", "--device", "cpu"]
"""One worker process: more threads than free cores only wait for each other."""
PATIENCE = 120
"""Seconds after which a test gives up; other processes may use the same cores."""


def study(*arms: Arm, settings: dict[str, Any] | None = None, **changes: Any) -> Study:
    """Return a grid of digits.

    Args:
        arms: arms of the study.
        settings: settings of all arms.
        changes: fields of the study.
    """
    arms = tuple(replace(arm, settings={**(settings or {}), **arm.settings}) for arm in arms)
    values: dict[str, Any] = {"datasets": ("digits",), "seeds": 1, **changes}
    return Study("s", "Title", "Which?", "grid", arms, **values)


@dataclass
class Output:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def lbench(*words: str) -> Output:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["lbench", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main(list(words))
    assert isinstance(ended.value.code, int)
    return Output(ended.value.code, out.getvalue(), err.getvalue())


def home_with_store(root: Path, template: Path) -> Home:
    """Return a new home with a copy of a store whose tables exist."""
    root.mkdir()
    shutil.copy(template, root / "store.db")
    return Home(root)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def interrupted(words: Sequence[str], when: Callable[[], bool]) -> Output:
    """Run a command in this process and send it Ctrl-C as soon as ``when`` returns true."""

    def interrupt() -> None:
        until(when)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        return lbench(*words)
    finally:
        thread.join()


def killed(words: Sequence[str], when: Callable[[], bool], meanwhile: Callable[[], None]) -> int:
    """Run a command in its own process, kill it when ``when`` is true, return its exit code.

    Args:
        words: the command's arguments.
        when: condition that is checked until it is true.
        meanwhile: function that is called before the process is killed.
    """
    with Command(*words) as process:
        until(when)
        meanwhile()
        process.kill()
        return process.wait(PATIENCE)
