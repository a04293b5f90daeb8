"""What probes measured in a study's runs: their tables, by cell and seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lbench.report.lines import Group, Line, groups, placed
from lbench.study.results import Final, Results

Numbers = npt.NDArray[np.float64]
Columns = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Measured:
    """A cell with what a probe measured in it.

    Args:
        group: that the cell belongs to.
        line: the cell.
        tables: the probe's columns of each finished seed that has them.
    """

    group: Group
    line: Line
    tables: dict[int, Columns]


def measured(results: Results, probe: str) -> list[Measured]:
    """The cells in which a probe measured something, in the order of the plan."""
    found = []
    for group in groups(results):
        for line in group.lines:
            if tables := read(line.final, probe):
                found.append(Measured(group, line, tables))
    return found


def by_place(cells: Iterable[Measured]) -> dict[str, list[Measured]]:
    """Cells by dataset, network and task in words: what can be compared."""
    found: dict[str, list[Measured]] = {}
    for each in cells:
        found.setdefault(each.group.title, []).append(each)
    return found


def titled(cells: Sequence[Measured]) -> list[tuple[str, Measured]]:
    """Each with a name that no other has, wherever it stands."""
    points = [each.line.final.point for each in cells]
    return [(placed(each.line.final.point, points), each) for each in cells]


def read(final: Final, probe: str) -> dict[int, Columns]:
    """A probe's columns, by seed; seeds that did not finish or have none are left out."""
    import pyarrow.parquet as pq

    found = {}
    for run in final.runs:
        path = run.run_dir / "probes" / f"{probe}.parquet"
        if run.status == "finished" and path.exists():
            table = pq.read_table(path)
            if table.num_rows:
                found[run.seed] = table.to_pydict()
    return found


def numbers(values: Iterable[float | None]) -> Numbers:
    """As an array; NaN where there is none."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def smooth(values: Numbers, window: int) -> Numbers:
    """The mean over so many values around each; fewer at both ends."""
    if window < 2:
        return values
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    at = np.arange(len(values))
    low, high = np.maximum(0, at - window // 2), np.minimum(len(values), at + (window + 1) // 2)
    total = counts[high] - counts[low]
    with np.errstate(invalid="ignore"):
        return np.asarray(
            np.where(total > 0, (sums[high] - sums[low]) / np.maximum(total, 1), np.nan)
        )


def thinned(length: int, most: int = 300) -> Sequence[int]:
    """Indices of at most so many of a row's places, the first and the last among them."""
    if length <= most:
        return range(length)
    return sorted({round(at) for at in np.linspace(0, length - 1, most)})
