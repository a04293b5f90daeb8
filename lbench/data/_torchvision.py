"""Imports torchvision, also where its wheel does not fit the installed build of torch.

torchvision's wheel on PyPI is built for CUDA. With a CPU build of torch its compiled operators do
not load, and its import fails with "operator torchvision::nms does not exist", because its Python
code decorates two of them. Once these two names are defined, the Python part (datasets,
transforms, models) works; the operators themselves remain unusable.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_keep: list[torch.library.Library] = []


def load(name: str) -> ModuleType:
    """Import ``torchvision.<name>``.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: its import fails for another reason than the missing operators.
    """
    try:
        return importlib.import_module(f"torchvision.{name}")
    except RuntimeError as error:
        if _keep or "operator torchvision::" not in str(error):
            raise
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    _keep.append(library)  # the definitions exist as long as this object
    for schema in SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    return importlib.import_module(f"torchvision.{name}")
