"""Peak memory of a run, in MiB."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import torch

MIB = 2**20


class Peak:
    """The largest amount of memory in use at once since the object was created."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0.0
        self._forget()

    def mib(self) -> float | None:
        """Return MiB allocated by PyTorch on CUDA, or resident on the CPU; None if unknown."""
        now = self._now()
        return None if now is None else max(now, self._before)

    @contextlib.contextmanager
    def uncounted(self) -> Iterator[None]:
        """Leave memory that is used inside out of the count."""
        self._before = self.mib() or 0.0
        try:
            yield
        finally:
            self._forget()

    def _forget(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            return
        # ru_maxrss is inherited and never falls; the kernel's own peak can be reset.
        clear = Path("/proc/self/clear_refs")
        if clear.exists():
            with contextlib.suppress(OSError):
                clear.write_text("5")

    def _now(self) -> float | None:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / MIB
        return _of_process("VmHWM")


def resident_mib() -> float | None:
    """Return the MiB that are resident in this process now; None if unknown."""
    return _of_process("VmRSS")


def _of_process(name: str) -> float | None:
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    match = re.search(rf"{name}:\s+(\d+) kB", status.read_text())
    return int(match[1]) / 1024 if match else None
