"""The files of a dataset that the code of a rule opens during its run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lbench.auditing.opened_files import FileMonitor, modules_of
from lbench.data.cache import directory
from lbench.errors import LbenchError
from lbench.training.resolve import Resolved


class Files(FileMonitor):
    """The files that the code of a run's rule and network opens.

    Args:
        resolved: the configuration of the run.
        note: called once with a sentence for each file, whether it is the dataset's or not.
    """

    def __init__(self, resolved: Resolved, note: Callable[[str], None]) -> None:
        cell = resolved.cell
        super().__init__(modules_of(cell.rule_class, type(cell.network_spec)), self._take)
        self.of_dataset: list[str] = []
        # Not the whole of resolved, which would keep the data alive.
        self._source, self._data_dir = resolved.source, resolved.data_dir
        self._note = note

    def _take(self, path: Path) -> None:
        if self._is_data(path):
            self.of_dataset.append(path.name)
            self._note(f"The code of the rule opened {path}, which is a file of the dataset.")
        else:
            self._note(f"The code of the rule opened {path}.")

    def _is_data(self, path: Path) -> bool:
        """Return whether lbench reads the dataset from this file or stores decoded data in it."""
        if path.parent == directory().resolve():
            return True
        try:
            dataset = self._source.find(self._data_dir)
        except LbenchError:
            return False  # the dataset was read from the cache, and its files are missing
        return any(path == file.path.resolve() for file in dataset.files)
