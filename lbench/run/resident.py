"""Data that stays on its device from one run of a process to the next."""

from __future__ import annotations

import json

import torch

from lbench.data.loader import DeviceData
from lbench.data.parts import Parts, parts, unseen
from lbench.run.resolve import Resolved

_kept: dict[str, Parts] = {}


def resident(resolved: Resolved, device: torch.device) -> Parts:
    """What a run trains on and chooses by; the last one's, when it has the same data.

    Only that is kept: what else lies on the device would count as a run's memory.
    """
    cell, source = resolved.cell, resolved.source
    task = {**cell.spec()["task"], "budget": None, "augmentation": None, "device": str(device)}
    key = json.dumps(task, sort_keys=True)
    if key not in _kept:
        _kept.clear()
        _kept[key] = parts(
            resolved.dataset,
            cell.validation,
            cell.labels,
            standardize=source.standardize,
            device=device,
        )
    return _kept[key]


def unseen_data(resolved: Resolved, device: torch.device) -> DeviceData:
    """What a run is tested on: copied anew, for nothing of lbench keeps it while a rule trains."""
    standardize = resolved.source.standardize
    return unseen(resolved.dataset, standardize=standardize, device=device)
