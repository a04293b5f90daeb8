"""The runs of one configuration as a value: numbers, a table, a data frame and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbench.errors import LbenchError, UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from lbench.execute.driver import RunOutcome
    from lbench.output.table import Table
    from lbench.statistics.intervals import Summary


class RunResult:
    """The result of :func:`lbench.run`.

    ``print(result.table())`` prints what the command prints; a notebook shows the table.

    Args:
        content: the object that ``lbench run --json`` prints (docs/json.md).
        outcomes: the outcomes of the runs, one per seed.
        problem: the error that kept the runs out of the database; None if there was none.
    """

    def __init__(
        self,
        content: Mapping[str, Any],
        outcomes: Sequence[RunOutcome],
        problem: LbenchError | None = None,
    ) -> None:
        self.content = dict(content)
        self.outcomes = list(outcomes)
        self.problem = problem

    @property
    def cell(self) -> str:
        """Return the readable id of the configuration, which :func:`lbench.compare` takes."""
        cell: str = self.content["cell"]
        return cell

    @property
    def test_error(self) -> Summary | None:
        """Return mean, deviation and 95 % interval of the test error in percent, over seeds.

        None if no seed has finished.
        """
        from lbench.statistics.intervals import error_interval

        errors = [run["test_error"] for run in self.runs if run["status"] == "finished"]
        return error_interval(errors, self.content["test_examples"])

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Return one object per seed, with errors in percent, times in seconds, memory in MiB."""
        runs: list[dict[str, Any]] = self.content["runs"]
        return runs

    @property
    def per_block(self) -> dict[str, list[float]]:
        """Return the rule's numbers per block by name, such as workers and leaders."""
        numbers: dict[str, list[float]] = self.content["per_block"]
        return numbers

    @property
    def run_dirs(self) -> list[Path]:
        """Return the directory of each run."""
        return [outcome.run_dir for outcome in self.outcomes]

    @property
    def finished(self) -> bool:
        """Return whether every seed has finished."""
        return all(run["status"] == "finished" for run in self.runs)

    @property
    def stopped(self) -> bool:
        """Return whether the command was interrupted; the same call continues."""
        return any(outcome.stopped for outcome in self.outcomes)

    @property
    def contradictions(self) -> list[str]:
        """Return the claims of the rule that its runs or its audit contradict."""
        contradictions: list[str] = self.content["contradictions"]
        return contradictions

    def table(self) -> Table:
        """Return a table of the means over seeds: errors, parameters, costs, audit."""
        from lbench.report.summary import run_table

        return run_table(self.content)

    def frame(self) -> pd.DataFrame:
        """Return a data frame with a row per seed and a column per number."""
        import pandas as pd

        plain = (str, int, float, bool, type(None))
        rows = []
        for run in self.runs:
            row = {name: value for name, value in run.items() if isinstance(value, plain)}
            row |= {f"seconds_{name}": s for name, s in (run.get("seconds") or {}).items()}
            rows.append(row)
        return pd.DataFrame(rows)

    def epochs(self) -> pd.DataFrame:
        """Return a data frame with a row per seed and epoch, from the epoch logs of the runs."""
        from lbench.api.frames import epochs

        return epochs(zip([run["seed"] for run in self.runs], self.run_dirs, strict=True))

    def plot(self) -> Figure:
        """Return a figure of training loss and validation error over epochs, a line per seed.

        Raises:
            UsageError: no seed has finished an epoch.
        """
        from lbench.api.plots import curves

        epochs = self.epochs()
        if epochs.empty:
            raise UsageError(f"No run of {self.cell} has finished an epoch.")
        return curves(epochs, self.cell)

    def __repr__(self) -> str:
        """Return the id, the number of finished seeds, and the test error."""
        finished = sum(run["status"] == "finished" for run in self.runs)
        error = self.test_error
        shown = "" if error is None else f", test error {error.mean:.2f} %"
        return f"<RunResult {self.cell}: {finished} of {len(self.runs)} seeds finished{shown}>"

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
