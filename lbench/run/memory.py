"""Peak memory of a run, in MiB."""

from __future__ import annotations

import re
from pathlib import Path

import torch

MIB = 2**20


def reset_peak(device: torch.device) -> None:
    """Forgets the peak so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    # ru_maxrss is inherited and never falls; the kernel's own mark can be reset.
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        try:
            clear.write_text("5")
        except OSError:
            return


def peak(device: torch.device) -> float | None:
    """Peak since the reset: allocated by torch on CUDA, resident in the process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    return int(found[1]) / 1024 if found else None
