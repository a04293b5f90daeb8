"""These networks are so small that a second thread only costs time; processes are forked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch

from lbench.testing import practice
from tests import forked


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Resuming:
    """What resumes a run in a process of its own, forked when it is asked."""

    def __init__(self, asked: str) -> None:
        self.asked = asked
        self.returncode = 0

    def communicate(self, rest: str) -> tuple[str, str]:
        """Let it resume; its standard output and standard error."""
        done = forked.run(given=self.asked + rest, does=practice.resume)
        self.returncode = done.returncode
        return done.stdout, done.stderr


@pytest.fixture(autouse=True)
def _resumed_in_a_forked_process(monkeypatch: pytest.MonkeyPatch) -> None:
    # With an interpreter of its own: in tests/testing, and where a package is installed.
    monkeypatch.setattr(practice, "_child", lambda asked: contextlib.nullcontext(Resuming(asked)))
