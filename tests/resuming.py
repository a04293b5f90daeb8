"""A forked process in place of the new process in which the conformance kit resumes a run."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

from lbench.testing import practice
from tests import forked


class Resuming:
    """Resumes a run in a process that is forked when the home of the run is known."""

    def __init__(self, job: str) -> None:
        self.job = job
        self.returncode = 0

    def communicate(self, rest: str) -> tuple[str, str]:
        """Resume the run; return standard output and standard error."""
        done = forked.run(given=self.job + rest, does=practice.resume)
        self.returncode = done.returncode
        return done.stdout, done.stderr


def child(job: str) -> AbstractContextManager[Resuming]:
    """Stand in for the process that :mod:`lbench.testing.practice` starts."""
    return contextlib.nullcontext(Resuming(job))
