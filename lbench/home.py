"""Home: the directory of a user's store, artifacts, studies, reports and run directories."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from lbench.errors import UsageError

SQLITE = re.compile(r"sqlite(\+\w+)?:///(?!:memory:|file:)(?P<file>[^?]+)(\?.*)?", re.DOTALL)
DENIED = "no permission to write"
ELSEWHERE = "Name another directory with --home or LBENCH_HOME."


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of ``--home``, else of ``LBENCH_HOME``, else ``./lbench-runs``.

    Attributes:
        root: the directory.
        copies: copies of database files that are opened instead of them, by file; see
            :func:`lbench.store.read_access.read_access`.
    """

    root: Path
    copies: Mapping[Path, Path] = field(default_factory=dict, compare=False)

    @classmethod
    def at(cls, given: Path | None = None) -> Home:
        """Return the home without creating it.

        Args:
            given: the directory of ``--home``; None for the environment or the default.

        Raises:
            UsageError: the path is something other than a directory, cannot be read, or is not
                UTF-8, which neither JSON nor a database can store.
        """
        root = given or Path(os.environ.get("LBENCH_HOME") or "lbench-runs")
        try:
            root = root.expanduser().absolute()
            str(root).encode()
            os.scandir(root).close()
        except FileNotFoundError:
            pass
        except UnicodeEncodeError:
            shown = os.fsencode(root).decode(errors="replace")
            raise UsageError(f"The name of the home {shown} is not UTF-8.", ELSEWHERE) from None
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"The home {root} cannot be read: {reason}.", ELSEWHERE) from error
        return cls(root)

    def prepare(self) -> None:
        """Create the home with the directory of runs.

        Raises:
            UsageError: it cannot be created or written to.
        """
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            if os.access(self.root, os.W_OK) and os.access(self.runs, os.W_OK):
                return
            reason = DENIED
        raise self._unusable(reason)

    def check(self) -> None:
        """Check that the home can be created or written to, without creating it.

        Raises:
            UsageError: it cannot be created or written to.
        """
        for folder in (self.root, self.runs):
            nearest = next(path for path in (folder, *folder.parents) if path.exists())
            if not nearest.is_dir():
                raise self._unusable(f"{nearest} is no directory")
            if not os.access(nearest, os.W_OK):
                raise self._unusable(DENIED)

    def _unusable(self, reason: str) -> UsageError:
        return UsageError(f"The home {self.root} cannot be used: {reason}.", ELSEWHERE)

    @property
    def store_file(self) -> Path | None:
        """Return the path of the store's SQLite file; None if ``LBENCH_STORE`` names no file."""
        url = os.environ.get("LBENCH_STORE")
        if not url:
            return self.root / "store.db"
        match = SQLITE.fullmatch(url)
        return Path(unquote(match["file"])) if match else None

    def has_store(self) -> bool:
        """Return whether there is a store to read; opening a missing one would create it.

        An empty file is no store: SQLite would open it as a database without tables.
        """
        file = self.store_file
        return file is None or (file.exists() and file.stat().st_size > 0)

    @property
    def option(self) -> str:
        """Return the option that selects this home, `` --home …``; empty for the default home."""
        return "" if self == Home.at() else f" --home {shlex.quote(str(self.root))}"

    @property
    def searches(self) -> Path:
        """Return the path of Optuna's SQLite file."""
        return self.root / "optuna.db"

    @property
    def artifacts(self) -> Path:
        """Return the directory of MLflow's artifacts."""
        return self.root / "artifacts"

    @property
    def studies(self) -> Path:
        """Return the directory of studies: ``studies/NAME``."""
        return self.root / "studies"

    @property
    def reports(self) -> Path:
        """Return the directory of the reports of studies: ``reports/NAME``."""
        return self.root / "reports"

    @property
    def runs(self) -> Path:
        """Return the directory of run directories: ``runs/CELL/seed-N``."""
        return self.root / "runs"
