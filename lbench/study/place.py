"""A point's work: its search, then its final runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lbench.rundir import RunDir
from lbench.study.definition import FRESH, Point
from lbench.study.search import Searching

FINAL = -1
"""Stands for a trial's number where there is no search."""


class Place:
    """A point's work: its search, then its final runs."""

    def __init__(self, point: Point, searching: Searching | None, seeds: int) -> None:
        self.point = point
        self.searching = searching
        first = FRESH if searching else 0
        self.seeds = range(first, first + seeds)
        self._waiting: deque[int] | None = None
        self._searched = False
        self.ended = 0
        self.hopeless = False

    @property
    def chosen(self) -> Mapping[str, Any]:
        """What the search chose; empty without one."""
        best = self.searching.best if self.searching else None
        return {} if best is None else best.params

    @property
    def trial(self) -> int:
        """The trial that was chosen; -1 without a search."""
        best = self.searching.best if self.searching else None
        return FINAL if best is None else best.number

    @property
    def searched(self) -> bool:
        """Whether its search has all its trials, or it has none; looked up until it has."""
        self._searched = self._searched or self.searching is None or self.searching.done
        return self._searched

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.searched and (self.hopeless or self.ended == len(self.seeds))

    def next_final(self) -> int | None:
        """The seed of the next final run; None while the search goes on, and behind the last."""
        if not self.searched:
            return None
        if self.searching and self.searching.best is None:
            self.hopeless = True
            return None
        if self._waiting is None:
            self._waiting = deque(self.seeds)
        return self._waiting.popleft() if self._waiting else None


def objectives(result: Mapping[str, Any], run_dir: Path | None) -> dict[str, float | None]:
    """What a search may minimise, of a run that has ended; see ``definition.OBJECTIVES``."""
    params: Mapping[str, int] = {}
    if run_dir is not None:
        params = (RunDir(run_dir).spec() or {}).get("params", {})
    seconds = result.get("seconds") or {}
    return {
        "val_error": result.get("val_error"),
        "peak_memory": result.get("peak_memory_mib"),
        "step_memory": result.get("step_memory_mib"),
        "step_ms": result.get("step_ms"),
        "seconds": seconds.get("training"),
        "params": float(params["inf"] + params["aux"]) if params else None,
    }
