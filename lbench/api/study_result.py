"""The results of a study as a value: its answer, tables, data frames and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbench.errors import LbenchError, UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from lbench.output.table import Table
    from lbench.report.study import Report
    from lbench.report.verdict import Judged
    from lbench.studies.definition import Study
    from lbench.studies.results import StudyData
    from lbench.studies.runner import Ending


class StudyResult:
    """The result of :func:`lbench.study` and :func:`lbench.tune`.

    Args:
        study: the study.
        ending: how the call ended: whether the study is complete, and what has not finished.
        results: searches and final runs; None if the database cannot be read.
        report: the report that was written; None if no run has ended.
        problem: the error that kept results out of the database; None if there was none.
    """

    def __init__(
        self,
        study: Study,
        ending: Ending,
        results: StudyData | None,
        report: Report | None,
        problem: LbenchError | None = None,
    ) -> None:
        self.study = study
        self.ending = ending
        self.results = results
        self.report = report
        self.problem = problem

    @property
    def content(self) -> dict[str, Any]:
        """Return the object that ``lbench study --json`` prints (docs/json.md)."""
        from lbench.api.study_output import ending_json

        return ending_json(self.study, self.ending, self.report, self.results)

    @property
    def answer(self) -> str | None:
        """Return the answer to the study's question in a sentence; None if no run has ended."""
        return None if self.report is None else self.report.answer.sentence

    @property
    def page(self) -> Path | None:
        """Return the path of the HTML report; None if no run has ended."""
        return None if self.report is None else self.report.page

    @property
    def finished(self) -> bool:
        """Return whether every trial and run has ended, and every final run has finished."""
        return self.ending.complete and not self.ending.unfinished

    @property
    def best(self) -> list[dict[str, Any]]:
        """Return what each search chose: options, validation error, and the command to run it.

        The list is empty for a study without a search.
        """
        from lbench.api.study_output import search_choices

        return [] if self.results is None else search_choices(self.results)

    def tables(self) -> list[Table]:
        """Return one table of results per dataset and network."""
        from lbench.report.study_table import results_tables

        return results_tables(self._verdicts())

    def table(self) -> Table:
        """Return one table of all results; a first column names dataset and network if needed."""
        from lbench.output.table import stacked

        return stacked(self.tables())

    def frame(self) -> pd.DataFrame:
        """Return a data frame with a row per configuration, like ``table.csv`` of the report."""
        import pandas as pd

        from lbench.report.study_records import records

        return pd.DataFrame(records(self._verdicts()))

    def runs(self) -> pd.DataFrame:
        """Return a data frame with a row per run, including trials."""
        import pandas as pd

        from lbench.report.study_records import run_records

        return pd.DataFrame(run_records(self._require_results()))

    def plot(self, name: str = "bars") -> Figure:
        """Return a figure of the report by its name, such as ``bars``, ``curves`` or ``grid:lr``.

        Raises:
            UsageError: there is no such figure, or it has nothing to show.
        """
        from lbench.report.entries import draw
        from lbench.report.figures.figure import style

        with style():
            figures = draw(self._require_results(), name)
        if not figures:
            raise UsageError(f"Figure {name} has nothing to show for study {self.study.name}.")
        return figures[0].picture

    def _verdicts(self) -> list[Judged]:
        from lbench.report.verdict import verdicts

        return verdicts(self._require_results())

    def _require_results(self) -> StudyData:
        if self.results is None:
            raise self.problem or UsageError(f"Study {self.study.name} has no results.")
        return self.results

    def __repr__(self) -> str:
        """Return the name, whether the study is complete, and the answer."""
        state = "complete" if self.ending.complete else "not complete"
        return f"<StudyResult {self.study.name}, {state}: {self.answer or 'no run has ended'}>"

    def _repr_html_(self) -> str:
        import html

        tables = "".join(table._repr_html_() for table in self.tables())
        return f"<p>{html.escape(self.answer or '')}</p>{tables}"
