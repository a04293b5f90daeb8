"""CPU threads: how they wait for each other, and how many a process may use.

This module does not import torch, which reads the variables when it is imported.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Environment variables with which a user sets how OpenMP threads wait."""
QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""The CPU quota of a Linux container (cgroup version 2)."""


def wait_passively() -> None:
    """Let OpenMP threads sleep while they wait, unless the user has chosen otherwise.

    By default they spin. As soon as another process wants the same cores, a training step of a
    few milliseconds then takes ten to a hundred times as long, because a spinning thread keeps a
    core from the thread that it waits for. How threads wait does not change results.

    OpenMP reads the variable when it is loaded, so this must run before torch is imported.
    Processes that are started later inherit it.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "passive"


def requested() -> int | None:
    """Return the number of threads in ``OMP_NUM_THREADS``; None if it has no number."""
    match = re.match(r"\s*([1-9]\d*)\s*(?:,|$)", os.environ.get("OMP_NUM_THREADS", ""))
    return int(match[1]) if match else None


def cores() -> int:
    """Return how many cores this process may use: its CPU affinity and its container's quota."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:  # macOS, Windows
        allowed = os.cpu_count() or 1
    return max(1, min(allowed, _quota(QUOTA) or allowed))


def _quota(path: Path) -> int | None:
    """Return the whole cores of a cgroup's quota, at least one; None if there is no quota."""
    try:
        limit, period = path.read_text().split()
        return max(1, int(limit) // int(period))
    except (OSError, ValueError):  # not a container; or "max"
        return None
