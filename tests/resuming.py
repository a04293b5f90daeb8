"""The check that a rule resumes in a new process, in a forked one."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

from lbench.testing import practice
from tests import forked


class Resuming:
    """What resumes a run in a process of its own, forked when it is asked."""

    def __init__(self, asked: str) -> None:
        self.asked = asked
        self.returncode = 0

    def communicate(self, rest: str) -> tuple[str, str]:
        """Let it resume; return its standard output and standard error."""
        done = forked.run(given=self.asked + rest, does=practice.resume)
        self.returncode = done.returncode
        return done.stdout, done.stderr


def child(asked: str) -> AbstractContextManager[Resuming]:
    """Stand in for the process that :mod:`lbench.testing.practice` starts."""
    return contextlib.nullcontext(Resuming(asked))
