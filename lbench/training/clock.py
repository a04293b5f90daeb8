"""Time of a run: training, evaluation and the rest, with the device synchronised in between.

A further clock counts the time in which the training thread had a core.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

import torch


class Clock:
    """Seconds spent in each part of a run; it can continue from a checkpoint's values."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._began = time.perf_counter()
        self._spent = {"training": 0.0, "evaluation": 0.0}
        self._before = 0.0
        self._core = 0.0
        self._open: tuple[str, float, float] | None = None

    def restore(self, seconds: Mapping[str, float]) -> None:
        """Add the time that an earlier process spent on this run."""
        self._spent = {part: seconds[part] for part in self._spent}
        self._before = sum(seconds.values())

    @contextlib.contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Count the time inside as ``training`` or ``evaluation``."""
        self._synchronise()
        self._start(part)
        try:
            yield
        finally:
            self._synchronise()
            self._stop()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Count the time inside as the rest, although a part is being measured."""
        if self._open is None:
            yield
            return
        part = self._open[0]
        self._synchronise()
        self._stop()
        try:
            yield
        finally:
            self._synchronise()
            self._start(part)

    def seconds(self) -> dict[str, float]:
        """Return the seconds of ``training``, ``evaluation`` and ``other`` so far."""
        spent = dict(self._spent)
        if self._open is not None:
            part, start, _ = self._open
            self._synchronise()
            spent[part] += time.perf_counter() - start
        total = self._before + time.perf_counter() - self._began
        other = max(0.0, total - sum(spent.values()))
        return {**spent, "other": other}

    def core(self) -> float | None:
        """Return the seconds of training in which this thread had a core; None on a GPU."""
        if self._device.type != "cpu":
            return None
        if self._open is None or self._open[0] != "training":
            return self._core
        return self._core + time.thread_time() - self._open[2]

    def _start(self, part: str) -> None:
        self._open = part, time.perf_counter(), time.thread_time()

    def _stop(self) -> None:
        assert self._open is not None
        part, start, core = self._open
        self._spent[part] += time.perf_counter() - start
        if part == "training":
            self._core += time.thread_time() - core
        self._open = None

    def _synchronise(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
