"""Predictions on test examples, from the logits that runs keep in their directories."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbench.report.compare.row import Pairs
from lbench.store.rows import CellRow, RunRow

if TYPE_CHECKING:
    from lbench.statistics.examples import Right

LOGITS, LABELS = "test_logits.npy", "test_labels.npy"
SLACK = 0.1
"""Points by which half precision may move an error: logits that differ by less become equal."""


class NotKeptError(Exception):
    """A run's predictions on the test examples are not there, or not to be believed; says why."""


class Kept:
    """Which test examples each of the runs has right.

    Args:
        pairs: cells with their runs.
    """

    def __init__(self, pairs: Pairs) -> None:
        self._cells = {cell.fingerprint: cell for cell, _ in pairs}
        self._runs = {
            (run.cell, run.seed): run
            for _, runs in pairs
            for run in runs
            if run.status == "finished"
        }
        self._labels: dict[str, Any] = {}
        self._right: dict[tuple[str, int], Right] = {}

    def right(self, cell: CellRow, seed: int) -> Right:
        """(examples,), for a finished run.

        Raises:
            NotKeptError: it kept no logits, nobody kept the labels, or its logits do not give
                the error that it has reported; or a sequence of tasks shows its examples again.
        """
        if "tasks" in cell.spec.get("task", {}).get("options", {}):
            raise NotKeptError("a sequence of tasks shows its examples again in each task")
        key = cell.fingerprint, seed
        if key not in self._right:
            self._right[key] = self._read(self._runs[key], cell.data_digest)
        return self._right[key]

    def _read(self, run: RunRow, digest: str) -> Right:
        from lbench.statistics.examples import right

        logits, labels = _load(run.run_dir / LOGITS), self._labels_of(digest)
        if logits.ndim != 2 or len(logits) != len(labels):
            raise NotKeptError(f"{run.run_dir / LOGITS} does not fit the {len(labels)} labels")
        found = right(logits, labels)
        error, told = 100 * float(1 - found.mean()), run.test_error or 0.0
        if abs(error - told) > max(SLACK, 200 / len(labels)):
            raise NotKeptError(
                f"the logits kept of seed {run.seed} give an error of {error:.2f} %, its result "
                f"says {told:.2f} %"
            )
        return found

    def _labels_of(self, digest: str) -> Any:
        """Of any run on the same data: an older lbench kept none."""
        if digest not in self._labels:
            for run in self._runs.values():
                path = run.run_dir / LABELS
                if self._cells[run.cell].data_digest == digest and os.access(path, os.F_OK):
                    self._labels[digest] = _load(path)
                    break
            else:
                raise NotKeptError(f"no run of these cells keeps {LABELS}, older ones did not")
        return self._labels[digest]


def _load(path: Path) -> Any:
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise NotKeptError(f"{path} is not there") from None
    except (OSError, ValueError, EOFError) as error:
        raise NotKeptError(f"{path} cannot be read: {error}") from None
