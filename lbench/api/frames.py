"""Data frames from the files of runs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from lbench.rundir import RunDir


def epochs(runs: Iterable[tuple[int, Path]]) -> pd.DataFrame:
    """Return a row per seed and epoch, from the epoch logs of runs.

    Columns are ``seed``, ``epoch``, ``step``, ``phase``, ``lr``, ``train_loss``, ``val_loss``,
    ``val_error`` (percent), ``seconds_training`` and the others of the epoch log. Each value that a
    rule logs has a column of its own.

    Args:
        runs: pairs of a seed and its run directory.
    """
    rows = []
    for seed, path in runs:
        for line in RunDir(path).epochs():
            seconds = line.pop("seconds", {})
            row: dict[str, Any] = {"seed": seed, **line}
            rows.append(row | {f"seconds_{name}": value for name, value in seconds.items()})
    return pd.DataFrame(rows)


def plain(value: Any) -> Any:
    """Return a value for a data frame; nested values become JSON text."""
    return json.dumps(value) if isinstance(value, (dict, list, tuple)) else value
