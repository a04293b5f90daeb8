"""Imports the modules that commands need, in the server of `tests.forked`."""

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
    for name in {"lbench", *(point.module for point in plugins)}:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{name}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    # pyarrow's allocator works in a fork without its thread.
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    if others := [name for name in names[1:] if name != "jemalloc_bg_thd"]:
        raise RuntimeError(f"an import has started threads: {', '.join(others)}")
    # A collection would write to every page that the forked processes share.
    gc.collect()
    gc.freeze()


try:
    warm()
except ImportError as error:
    # After an ImportError the server would continue without the modules.
    raise RuntimeError("a module that the tests need cannot be imported") from error
