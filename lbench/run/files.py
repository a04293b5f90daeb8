"""Which of a dataset's files the code of a rule opens during its run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lbench.auditing.opened_files import FileMonitor, modules_of
from lbench.data.cache import directory
from lbench.errors import LbenchError
from lbench.run.resolve import Resolved


class Files(FileMonitor):
    """Watches the code of a run's rule and network.

    Args:
        resolved: what is run.
        note: told of each file, the dataset's or not, once.
    """

    def __init__(self, resolved: Resolved, note: Callable[[str], None]) -> None:
        cell = resolved.cell
        super().__init__(modules_of(cell.rule_class, type(cell.network_spec)), self._take)
        self.of_dataset: list[str] = []
        self._source, self._place = resolved.source, resolved.data_dir  # and not the data
        self._note = note

    def _take(self, path: Path) -> None:
        if self._is_data(path):
            self.of_dataset.append(path.name)
            self._note(f"The code of the rule opened {path}, which is a file of the dataset.")
        else:
            self._note(f"The code of the rule opened {path}.")

    def _is_data(self, path: Path) -> bool:
        """Whether lbench reads the dataset from this file, or keeps decoded data in it."""
        if path.parent == directory().resolve():
            return True
        try:
            found = self._source.find(self._place)
        except LbenchError:
            return False  # it was read from the cache, and its files are gone
        return any(path == file.path.resolve() for file in found.files)
