"""Where everything of a user lies: the store, the artifacts and the run directories."""

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
    """``--home``, else ``LBENCH_HOME``, else ``./lbench-runs``.

    Attributes:
        root: the directory.
        copies: by database file the copy that is opened in its place; see
            :func:`lbench.store.readable.readable`.
    """

    root: Path
    copies: Mapping[Path, Path] = field(default_factory=dict, compare=False)

    @classmethod
    def at(cls, given: Path | None = None) -> Home:
        """The home that was asked for; nothing is created.

        Raises:
            UsageError: something else than a directory lies there, it cannot be read, or its
                name is not UTF-8, which neither JSON nor a database can hold.
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
        """Creates the home, ready for runs.

        Raises:
            UsageError: it cannot be created, or not be written to.
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
        """Check that the home can be created or written to; nothing is created.

        Raises:
            UsageError: it cannot.
        """
        for folder in (self.root, self.runs):
            there = next(each for each in (folder, *folder.parents) if each.exists())
            if not there.is_dir():
                raise self._unusable(f"{there} is no directory")
            if not os.access(there, os.W_OK):
                raise self._unusable(DENIED)

    def _unusable(self, reason: str) -> UsageError:
        return UsageError(f"The home {self.root} cannot be used: {reason}.", ELSEWHERE)

    @property
    def store_file(self) -> Path | None:
        """The store's SQLite file, there or not; None where ``LBENCH_STORE`` names no file."""
        url = os.environ.get("LBENCH_STORE")
        if not url:
            return self.root / "store.db"
        found = SQLITE.fullmatch(url)
        return Path(unquote(found["file"])) if found else None

    def has_store(self) -> bool:
        """Whether there is a store to read; opening one that is not there would create it.

        An empty file is none: SQLite would take it for a database without tables.
        """
        file = self.store_file
        return file is None or (file.exists() and file.stat().st_size > 0)

    @property
    def option(self) -> str:
        """What a command needs to mean this home: `` --home …``; empty for the default."""
        return "" if self == Home.at() else f" --home {shlex.quote(str(self.root))}"

    @property
    def searches(self) -> Path:
        """Optuna's SQLite file, there or not."""
        return self.root / "optuna.db"

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts."""
        return self.root / "artifacts"

    @property
    def studies(self) -> Path:
        """What studies remember: ``studies/NAME``."""
        return self.root / "studies"

    @property
    def reports(self) -> Path:
        """Reports of studies: ``reports/NAME``."""
        return self.root / "reports"

    @property
    def runs(self) -> Path:
        """The run directories: ``runs/CELL/seed-N``."""
        return self.root / "runs"
