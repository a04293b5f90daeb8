"""From ``--device`` to a torch device."""

from __future__ import annotations

import re

import torch

from lbench.errors import UsageError


def pick(name: str) -> torch.device:
    """``auto`` is the first CUDA device where there is one, else the CPU.

    Raises:
        UsageError: the name is not one, or there is no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda:0" if count else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    match = re.fullmatch(r"cuda(?::(\d+))?", name)
    if match is None:
        raise UsageError(f"Unknown device {name!r}.", "Give auto, cpu, cuda or cuda:1.")
    index = int(match[1] or 0)
    if index >= count:
        there = f"{count} CUDA devices" if count else "no CUDA device"
        raise UsageError(
            f"Device {name!r} is not there: this machine has {there}.",
            "Give --device auto to take what there is.",
        )
    return torch.device("cuda", index)
