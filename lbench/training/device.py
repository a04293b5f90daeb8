"""The device of PyTorch that ``--device`` names."""

from __future__ import annotations

import re

import torch

from lbench.errors import UsageError


def pick(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is the first CUDA device, or the CPU without one.

    Raises:
        UsageError: the name is unknown, or there is no such device.
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
            f"There is no device {name!r}: this machine has {there}.",
            "Give --device auto to use an available device.",
        )
    return torch.device("cuda", index)
