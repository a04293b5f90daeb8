"""Where everything of a user lies: the store, the artifacts and the run directories."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """``--home``, else ``LBENCH_HOME``, else ``./lbench-runs``."""

    root: Path

    @classmethod
    def at(cls, given: Path | None = None) -> Home:
        """The home that was asked for; nothing is created."""
        return cls((given or Path(os.environ.get("LBENCH_HOME") or "lbench-runs")).absolute())

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the store: ``LBENCH_STORE``, else ``store.db`` in the home."""
        return os.environ.get("LBENCH_STORE") or f"sqlite:///{self.root / 'store.db'}"

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts."""
        return self.root / "artifacts"

    @property
    def runs(self) -> Path:
        """The run directories: ``runs/CELL/seed-N``."""
        return self.root / "runs"
