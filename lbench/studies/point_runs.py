"""Runs at a point: its search, then its final runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lbench.quantities import QUANTITIES
from lbench.rundir import RunDir
from lbench.studies.defaults import settings_of
from lbench.studies.definition import FIRST_FINAL_SEED, Point
from lbench.studies.search import OptunaSearch

FINAL = -1
"""In place of a trial's number: a final run of the chosen settings."""
DEFAULTS = -2
"""In place of a trial's number: a final run of the defaults."""


class PointRuns:
    """Runs at a point: its search, then its final runs and those of the defaults.

    The settings that the search chose are compared with the defaults, seed by seed. If it chose
    the defaults, there is nothing to compare.

    Args:
        point: the point.
        search: its search; None without one.
        seeds: number of final runs.
    """

    def __init__(self, point: Point, search: OptunaSearch | None, seeds: int) -> None:
        self.point = point
        self.search = search
        first = FIRST_FINAL_SEED if search else 0
        self.seeds = range(first, first + seeds)
        self._waiting: deque[tuple[int, int]] | None = None
        self._searched = False
        self.ended = 0
        self.without_best = False

    @property
    def chosen(self) -> Mapping[str, Any]:
        """Return the settings that the search chose; empty without a search."""
        best = self.search.best if self.search else None
        return {} if best is None else settings_of(best)

    @property
    def trial(self) -> int:
        """Return the number of the chosen trial; -1 without a search."""
        best = self.search.best if self.search else None
        return FINAL if best is None else best.number

    @property
    def searched(self) -> bool:
        """Return whether the search is complete or there is none.

        A complete search is not looked up again.
        """
        self._searched = self._searched or self.search is None or self.search.done
        return self._searched

    @property
    def done(self) -> bool:
        """Return whether all runs of the point have ended."""
        return self.searched and (self.without_best or self.ended == self.wanted)

    @property
    def wanted(self) -> int:
        """Return the number of final runs, including those of the defaults."""
        return len(self.seeds) * len(self._kinds)

    @property
    def _kinds(self) -> tuple[int, ...]:
        if self.search is None or (self.searched and self.search.chose_defaults):
            return (FINAL,)
        return FINAL, DEFAULTS

    def next_final(self) -> tuple[int, int] | None:
        """Return the kind of the next final run, FINAL or DEFAULTS, and its seed.

        Return None while the search is running and after the last run.
        """
        if not self.searched:
            return None
        if self.search and self.search.best is None:
            self.without_best = True
            return None
        if self._waiting is None:
            self._waiting = deque((kind, seed) for kind in self._kinds for seed in self.seeds)
        return self._waiting.popleft() if self._waiting else None


def objectives(result: Mapping[str, Any], run_dir: Path | None) -> dict[str, float | None]:
    """Return the objectives of a run that has ended; see ``definition.OBJECTIVES``."""
    params: Mapping[str, int] = {}
    if run_dir is not None:
        params = (RunDir(run_dir).spec() or {}).get("params", {})
    params_used = float(params["inf"] + params["aux"]) if params else None
    return {q.key: q.of(result) for q in QUANTITIES if q.objective} | {"params": params_used}
