"""``lbench.results``: all runs of a home as data frames."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lbench.api.comparison import pairs
from lbench.api.progress import say
from lbench.api.training import home_at
from lbench.errors import UsageError
from lbench.home import Home
from lbench.per_block import short_text
from lbench.quantities import QUANTITIES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from lbench.output.table import Table
    from lbench.store.rows import Pairs


class Results:
    """The result of :func:`lbench.results`: the runs of a home as data frames.

    Each frame is read at its first use. Errors are in percent, times in seconds, memory in MiB. In
    every frame, ``cell`` is the id of a configuration and ``seed`` the seed of a run.

    Args:
        home: the home.
        warn: called with a sentence if run directories are not in the database.
    """

    def __init__(self, home: Home, warn: Callable[[str], None]) -> None:
        self.home = home
        self._warn = warn

    @cached_property
    def _pairs(self) -> Pairs:
        return pairs(self.home, (), self._warn)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Return a row per configuration: its parts, means over seeds with intervals, audit.

        Its columns do not include ratios, which would be relative to an arbitrary configuration.
        """
        import pandas as pd

        from lbench.report.compare.row import rows
        from lbench.report.study_records import as_columns

        content = [
            row.as_dict()
            | as_columns("test_error", row.test)
            | as_columns("test_error_at_best_val", row.at_best_val)
            | as_columns("test_error_top5", row.top5)
            for row in rows(self._pairs)
        ]
        for row in content:
            for name in ("audit", *(quantity.ratio for quantity in QUANTITIES if quantity.ratio)):
                del row[name]
            row |= {f"params_{kind}": n for kind, n in row.pop("params").items()}
            row["per_block"] = short_text(row["per_block"] or {})
            row["contradictions"] = "; ".join(row["contradictions"])
            row["unfinished"] = len(row["unfinished"])
            row["seeds"] = len(row["seeds"])
        return pd.DataFrame(content)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """Return a row per configuration and seed, the latest attempt of each."""
        import pandas as pd

        from lbench.api.frames import plain

        rows = []
        for cell, runs in self._pairs:
            for run in runs:
                values = run.as_dict() | {"cell": cell.cell_id, "run_dir": str(run.run_dir)}
                parts = {"rule": cell.rule, "dataset": cell.dataset, "network": cell.network}
                rows.append(parts | {name: plain(value) for name, value in values.items()})
        return pd.DataFrame(rows)

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """Return a row per configuration, seed and epoch, from the epoch logs of the runs."""
        import pandas as pd

        from lbench.api.frames import epochs

        frames = []
        for cell, runs in self._pairs:
            frame = epochs((run.seed, run.run_dir) for run in runs)
            frame.insert(0, "cell", cell.cell_id)
            frames.append(frame)
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def probe(self, name: str) -> pd.DataFrame:
        """Return the rows that a probe recorded, with ``cell`` and ``seed`` in front.

        Raises:
            UsageError: no run of the home has this probe.
        """
        import pandas as pd

        frames = []
        for cell, runs in self._pairs:
            for run in runs:
                path = run.run_dir / "probes" / f"{name}.parquet"
                if path.exists():
                    frame = pd.read_parquet(path)
                    frame.insert(0, "seed", run.seed)
                    frame.insert(0, "cell", cell.cell_id)
                    frames.append(frame)
        if not frames:
            raise UsageError(
                f"No run in {self.home.root} has the probe {name}.",
                f'Train with it: lbench.run(…, probes=["{name}"])',
            )
        return pd.concat(frames, ignore_index=True)

    def frame(self) -> pd.DataFrame:
        """Return :attr:`cells`."""
        return self.cells

    def table(self) -> Table:
        """Return a row per configuration, as ``lbench compare`` without ids prints it."""
        from lbench.report.render import listing

        return listing(self._pairs)

    def plot(self) -> Figure:
        """Return a figure of the test errors with their intervals, and a tick per seed.

        Raises:
            UsageError: there is no finished run.
        """
        from lbench.api.plots import errors
        from lbench.report.compare.row import rows

        configurations = rows(self._pairs)
        if not any(row.test for row in configurations):
            raise UsageError(f"There is no finished run in {self.home.root}.")
        return errors(configurations)

    def __len__(self) -> int:
        """Return the number of configurations."""
        return len(self._pairs)

    def __repr__(self) -> str:
        """Return the directory of the home and the number of its configurations."""
        return f"<Results of {self.home.root}: {len(self)} configurations>"

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def results(home: str | Path | None = None) -> Results:
    """Return the runs of a home as data frames: ``cells``, ``runs``, ``epochs``.

    ::

        runs = lbench.results().runs
        runs.groupby(["rule", "dataset"]).test_error.mean()

    Args:
        home: the directory of runs; None for ``LBENCH_HOME``, else ``./lbench-runs``.

    Raises:
        UsageError: the home is not a directory, or cannot be read.
    """
    return Results(home_at(home), lambda text: say(f"{text}\n"))
