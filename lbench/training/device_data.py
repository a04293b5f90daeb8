"""The data of a run on its device, kept from one run of a process to the next."""

from __future__ import annotations

import json

import torch

from lbench.data.loader import DeviceData
from lbench.data.parts import Parts, parts, unseen
from lbench.training.resolve import Resolved

_cache: dict[str, Parts] = {}


def training_parts(resolved: Resolved, device: torch.device, workers: int | None = None) -> Parts:
    """Return the training and validation examples of a run, reusing those of the last run.

    Only the data of one run is kept: more data on the device would count as the run's memory.

    Args:
        resolved: the configuration of the run.
        device: device of the run.
        workers: number of processes that decode streamed images; None for one per core.
    """
    cell, source = resolved.cell, resolved.source
    task = {
        **cell.spec()["task"],
        "budget": None,
        "augmentation": None,
        "device": str(device),
        "workers": workers,
    }
    key = json.dumps(task, sort_keys=True)
    if key not in _cache:
        _cache.clear()
        _cache[key] = parts(
            resolved.dataset,
            cell.validation,
            cell.labels,
            standardize=source.standardize,
            device=device,
            workers=workers,
        )
    return _cache[key]


def load_test_set(
    resolved: Resolved, device: torch.device, workers: int | None = None
) -> DeviceData:
    """Return a new copy of the test set: lbench holds no reference to it while a rule trains."""
    standardize = resolved.source.standardize
    return unseen(resolved.dataset, standardize=standardize, device=device, workers=workers)
