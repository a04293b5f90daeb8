"""Predictions on examples, from the logits that runs store in their directories."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbench.store.rows import CellRow, Pairs, RunRow

if TYPE_CHECKING:
    from lbench.statistics.examples import Right

LOGITS, LABELS = "test_logits.npy", "test_labels.npy"
SLACK = 0.1
"""Points by which half precision may change an error: logits that differ by less become equal."""


class MissingError(Exception):
    """A run's predictions on the test examples are missing or wrong, with the reason."""


class Predictions:
    """Which test examples each of the runs predicts correctly.

    Args:
        pairs: configurations with their runs.
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
        """Return which test examples are predicted correctly, (examples,), by a finished run.

        Raises:
            MissingError: the run stored no logits, no run stored the labels, the logits give
                another error than the run reported, or a sequence of tasks shows its examples
                again in each task.
        """
        if "tasks" in cell.spec.get("task", {}).get("options", {}):
            raise MissingError("a sequence of tasks shows its examples again in each task")
        key = cell.fingerprint, seed
        if key not in self._right:
            self._right[key] = self._read(self._runs[key], cell.data_digest)
        return self._right[key]

    def _read(self, run: RunRow, digest: str) -> Right:
        path = run.run_dir / LOGITS
        logits, labels = read_array(path), self._labels_of(digest)
        correct = checked(logits, labels, path)
        error, reported = 100 * float(1 - correct.mean()), run.test_error or 0.0
        if abs(error - reported) > max(SLACK, 200 / len(labels)):
            raise MissingError(
                f"the logits kept of seed {run.seed} give an error of {error:.2f} %, its result "
                f"says {reported:.2f} %"
            )
        return correct

    def _labels_of(self, digest: str) -> Any:
        """Return the labels of any run on the same data: an older lbench stored none."""
        if digest not in self._labels:
            for run in self._runs.values():
                path = run.run_dir / LABELS
                if self._cells[run.cell].data_digest == digest and os.access(path, os.F_OK):
                    self._labels[digest] = read_array(path)
                    break
            else:
                raise MissingError(
                    f"no run of these configurations keeps {LABELS}, older ones did not"
                )
        return self._labels[digest]


def checked(logits: Any, labels: Any, path: Path) -> Right:
    """Return which examples the logits of a file predict correctly, (examples,).

    Raises:
        MissingError: the logits do not fit the labels.
    """
    from lbench.statistics.examples import right

    if logits.ndim != 2 or len(logits) != len(labels):
        raise MissingError(f"{path} does not fit the {len(labels)} labels")
    return right(logits, labels)


def read_array(path: Path) -> Any:
    """Return the array of a file.

    Raises:
        MissingError: the file is not there, or is not an array.
    """
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise MissingError(f"{path} is not there") from None
    except (OSError, ValueError, EOFError) as error:
        raise MissingError(f"{path} cannot be read: {error}") from None
