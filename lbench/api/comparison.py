"""``lbench.compare``: configurations side by side, with every setting in which they differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbench.api.progress import Notifier
from lbench.api.run_result import RunResult
from lbench.api.training import home_at
from lbench.errors import UsageError
from lbench.home import Home

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from lbench.output.table import Table
    from lbench.report.compare.comparison import Comparison
    from lbench.store.rows import Pairs


class ComparisonResult:
    """The result of :func:`lbench.compare`.

    Args:
        comparison: the rows, the paired differences, and the settings that are not equal.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    @property
    def content(self) -> dict[str, Any]:
        """Return the object that ``lbench compare --json`` prints (docs/json.md)."""
        return self.comparison.as_dict()

    def table(self) -> Table:
        """Return a table with a row per configuration; notes name settings that are not equal."""
        from lbench.report.render import table

        return table(self.comparison)

    def differences(self) -> Table:
        """Return a table of the differences to the first configuration.

        They are paired over common seeds and over test examples.
        """
        from lbench.report.compare.difference import table

        return table(self.comparison.differences)

    def frame(self) -> pd.DataFrame:
        """Return a data frame with a row per configuration; nested values have dotted names."""
        import pandas as pd

        return pd.json_normalize(self.content["cells"])

    def plot(self) -> Figure:
        """Return a figure of the test errors with their intervals, and a tick per seed.

        Raises:
            UsageError: no configuration has a finished run.
        """
        from lbench.api.plots import errors

        if not any(row.test for row in self.comparison.rows):
            raise UsageError("None of these configurations has a finished run.")
        return errors(self.comparison.rows)

    def __repr__(self) -> str:
        """Return the ids of the configurations."""
        ids = ", ".join(row.cell.cell_id for row in self.comparison.rows)
        return f"<ComparisonResult {ids}>"

    def _repr_html_(self) -> str:
        return self.table()._repr_html_() + self.differences()._repr_html_()


def compare(*cells: str | RunResult, home: str | Path | None = None) -> ComparisonResult:
    """Compare configurations; the others are compared with the first, paired over common seeds.

    ::

        lbench.compare("bp/digits", "lfnn_l/digits").table()

    Args:
        cells: ids of configurations, or beginnings of ids that only one configuration of the home
            has; or results of :func:`lbench.run`.
        home: the directory of runs; None for ``LBENCH_HOME``, else ``./lbench-runs``.

    Raises:
        UsageError: an id belongs to no configuration or to several, or one is given twice.
        StoreError: the database cannot be read.
    """
    from lbench.report.compare.comparison import compare as compared

    if not cells:
        raise UsageError(
            "compare needs a configuration.", "lbench.results() lists those of the home."
        )
    names = [cell.cell if isinstance(cell, RunResult) else cell for cell in cells]
    return ComparisonResult(compared(pairs(home_at(home), names, Notifier())))


def pairs(home: Home, cells: Sequence[str], warn: Callable[[str], None]) -> Pairs:
    """Return configurations of a home with their runs; for no ids, all of the home.

    Args:
        home: the home.
        cells: beginnings of ids.
        warn: called with a sentence if run directories are not in the database.

    Raises:
        UsageError: an id belongs to no configuration or to several, or one is given twice.
        StoreError: the database cannot be read.
    """
    from lbench.store.read_access import read_access
    from lbench.store.record import Record
    from lbench.store.run_dirs import check_store, no_record, unrecorded

    check_store(home)
    if not home.has_store():
        if not cells:
            return []
        raise UsageError(
            f"There is no configuration {cells[0]!r}: {home.root} has no runs.",
            "Name the directory of your runs with --home, or train a run: lbench run --rule bp "
            "--dataset digits",
        )
    with read_access(home) as readable, Record.open(readable) as record:
        if run_dirs := record.unrecorded():
            if record.empty():
                raise no_record(home, len(run_dirs))
            warn(unrecorded(home, len(run_dirs)))
        rows = [record.cell(prefix) for prefix in cells] if cells else record.cells()
        twice = [row.cell_id for row in rows if rows.count(row) > 1]
        if twice:
            raise UsageError(f"{twice[0]} was given twice.", "Give each configuration once.")
        return [(row, record.runs(row)) for row in rows]
