"""Imports what commands need, in the process that commands are forked from (see `tests.forked`)."""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import os
import pkgutil
from pathlib import Path

import torch

NEEDED = (
    "mlflow.store.tracking.sqlalchemy_store",
    "optuna.storages",
    "optuna.trial",
    "pytest",
    "sklearn.datasets",
    "sqlalchemy.dialects.sqlite",
)


def warm() -> None:
    """Import lbench, its plugins and the packages that they import only where they use them.

    Raises:
        RuntimeError: an import has started a thread, which a fork would not have.
    """
    # PyTorch imports much of itself at the first optimizer.
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for name in NEEDED:
        importlib.import_module(name)
    plugins = importlib.metadata.entry_points(group="lbench")
    for name in {"lbench", *(each.module for each in plugins)}:
        package = importlib.import_module(name)
        for found in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{name}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    # The thread of pyarrow's allocator knows how to be absent from a fork.
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    if found := [name for name in names[1:] if name != "jemalloc_bg_thd"]:
        raise RuntimeError(f"an import has started threads: {', '.join(found)}")
    # A collection would write to every page that the forked processes share.
    gc.collect()
    gc.freeze()


try:
    warm()
except ImportError as error:
    # The server would go on without.
    raise RuntimeError("what the tests need cannot be imported") from error
