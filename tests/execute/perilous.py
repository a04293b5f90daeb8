"""A plugin of rules that do what no rule should: for tests of the pool."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from torch import Tensor

from lbench.step import Step
from lbench.task import Batch
from lbench_bp.bp import Bp

AT = 60
"""The step, from 0, at which it happens: in the second epoch of digits."""


class Mortal(Bp):
    """Takes its process with it, the first time that a file is not there."""

    def after_step(self, s: Step) -> None:
        died = Path(os.environ["LBENCH_TEST_DIED"])
        if s.index == AT and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Doomed(Bp):
    """Takes its process with it every time."""

    def after_step(self, s: Step) -> None:
        if s.index == AT:
            os.kill(os.getpid(), signal.SIGKILL)


class Leaving(Bp):
    """Ends its process as if all were well."""

    def after_step(self, s: Step) -> None:
        if s.index == AT:
            os._exit(0)


class Broken(Bp):
    """Raises in the middle of a run."""

    def loss(self, batch: Batch, s: Step) -> Tensor:
        if s.index == AT:
            raise RuntimeError("no such kernel")
        return super().loss(batch, s)


class Chatty(Bp):
    """Prints."""

    def after_step(self, s: Step) -> None:
        print("chatty at", s.index, flush=True)
