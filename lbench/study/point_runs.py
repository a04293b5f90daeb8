"""A point's work: its search, then its final runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lbench.rundir import RunDir
from lbench.study.defaults import settings_of
from lbench.study.definition import FIRST_FINAL_SEED, Point
from lbench.study.search import OptunaSearch

FINAL = -1
"""Stands for a trial's number where there is no search."""
DEFAULTS = -2
"""Stands for a trial's number in final runs of the defaults."""


class PointRuns:
    """A point's work: its search, then its final runs, and those of the defaults.

    What a search chose is compared with the defaults, seed by seed; where it chose the defaults
    there is nothing to compare.
    """

    def __init__(self, point: Point, searching: OptunaSearch | None, seeds: int) -> None:
        self.point = point
        self.searching = searching
        first = FIRST_FINAL_SEED if searching else 0
        self.seeds = range(first, first + seeds)
        self._waiting: deque[tuple[int, int]] | None = None
        self._searched = False
        self.ended = 0
        self.without_best = False

    @property
    def chosen(self) -> Mapping[str, Any]:
        """What the search chose; empty without one."""
        best = self.searching.best if self.searching else None
        return {} if best is None else settings_of(best)

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
        return self.searched and (self.without_best or self.ended == self.wanted)

    @property
    def wanted(self) -> int:
        """How many final runs there shall be, those of the defaults among them."""
        return len(self.seeds) * len(self._kinds)

    @property
    def _kinds(self) -> tuple[int, ...]:
        if self.searching is None or (self.searched and self.searching.chose_defaults):
            return (FINAL,)
        return FINAL, DEFAULTS

    def next_final(self) -> tuple[int, int] | None:
        """Return what the next final run is of, FINAL or DEFAULTS, and its seed.

        None while the search goes on, and behind the last run.
        """
        if not self.searched:
            return None
        if self.searching and self.searching.best is None:
            self.without_best = True
            return None
        if self._waiting is None:
            self._waiting = deque((kind, seed) for kind in self._kinds for seed in self.seeds)
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
