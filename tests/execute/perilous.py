"""A plugin of rules that harm their process, for tests of the pool."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from torch import Tensor

from lbench.step import Step
from lbench.task import Batch
from lbench_bp.bp import Bp

AT = 60
"""The step, from 0, at which the rules act: in the second epoch of digits."""


class Mortal(Bp):
    """A rule that kills its process once: if a file does not exist yet."""

    def after_step(self, s: Step) -> None:
        marker = Path(os.environ["LBENCH_TEST_DIED"])
        if s.index == AT and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Doomed(Bp):
    """A rule that kills its process every time."""

    def after_step(self, s: Step) -> None:
        if s.index == AT:
            os.kill(os.getpid(), signal.SIGKILL)


class Leaving(Bp):
    """A rule that ends its process with exit code 0."""

    def after_step(self, s: Step) -> None:
        if s.index == AT:
            os._exit(0)


class Broken(Bp):
    """A rule that raises in the middle of a run."""

    def loss(self, batch: Batch, s: Step) -> Tensor:
        if s.index == AT:
            raise RuntimeError("no such kernel")
        return super().loss(batch, s)


class Chatty(Bp):
    """A rule that prints."""

    def after_step(self, s: Step) -> None:
        print("chatty at", s.index, flush=True)
