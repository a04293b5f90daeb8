"""The report of a study: the page, its tables and figures, and their data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbench.errors import LbenchError, UsageError
from lbench.home import Home
from lbench.output.latex import to_latex
from lbench.output.records import write_csv, write_parquet
from lbench.registry import registry
from lbench.report.answers.answer import UNDECIDED, Answer
from lbench.report.entries import answer, draw, entry_function
from lbench.report.figures.figure import save, style
from lbench.report.study_page import Drawn, inline, page
from lbench.report.study_records import records, run_records
from lbench.report.study_table import cost_tables, results_tables, to_markdown
from lbench.report.verdict import Judged, verdicts
from lbench.rundir import without_nan, write_json
from lbench.studies.definition import Study
from lbench.studies.results import StudyData

ALWAYS = ("curves", "history", "best_so_far", "importance", "pareto")
"""Figures of every report that has something to show there, after those of the study."""


@dataclass(frozen=True, slots=True)
class Report:
    """A written report: its page, its answer, and in ``tables`` an object per configuration.

    ``left_out`` has the figures that could not be drawn, each with the reason.
    """

    folder: Path
    page: Path
    answer: Answer
    tables: Sequence[Mapping[str, Any]]
    left_out: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return _plain(
            {
                "report": str(self.page),
                "answer": self.answer.as_dict(),
                "cells": list(self.tables),
                "left_out": dict(self.left_out),
            }
        )


def check(study: Study) -> None:
    """Check that a study's analysis and figures exist, before anything is trained for them.

    Raises:
        UsageError: one does not exist; names the nearest.
        PluginError: one cannot be loaded.
    """
    entry_function("analyses", study.analysis)
    for figure in study.figures:
        entry_function("figures", figure.partition(":")[0])


def unrecorded(study: Study) -> list[str]:
    """Return a sentence for each figure or analysis whose probe the study does not have."""
    names = dict.fromkeys(figure.partition(":")[0] for figure in study.figures)
    entries = [("analysis", registry().find("analyses", study.analysis))]
    entries += [("figure", registry().find("figures", name)) for name in names]
    return [
        f"The {kind} {entry.name} reads what the probe {entry.probe} records, and the probes of "
        "the study do not include it."
        for kind, entry in entries
        if entry.probe and entry.probe not in study.probes
    ]


def make_report(results: StudyData, folder: Path, *, home: Home) -> Report:
    """Write the report into a folder; ``docs/reports.md`` lists its files.

    Args:
        folder: the files of an earlier report in it are replaced.
        home: its store has the number of reads of the test sets.
    """
    judged = verdicts(results)
    answered = _answered(results)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "figures", ignore_errors=True)
    drawn, left_out = _figures(results, folder / "figures")
    cells = records(judged)
    _tables(results, judged, cells, folder)
    write_json(folder / "answer.json", _plain(answered.as_dict()))
    path = folder / "report.html"
    path.write_text(page(results, judged, answered, drawn, left_out, home), encoding="utf-8")
    return Report(folder, path, answered, cells, left_out)


def _answered(results: StudyData) -> Answer:
    """Return the answer, or that it failed: the tables do not depend on it."""
    try:
        return answer(results)
    except (UsageError, KeyboardInterrupt):
        # The analysis does not exist: the study must be changed.
        raise
    except BaseException as error:
        return Answer(f"{UNDECIDED}: the answer could not be computed ({_why(error)}).")


def _why(error: BaseException) -> str:
    if isinstance(error, LbenchError):
        return error.message
    return f"{type(error).__name__}: {error}"


def _figures(results: StudyData, folder: Path) -> tuple[list[Drawn], dict[str, str]]:
    """Draw and write the figures; return those that cannot be drawn with their reasons."""
    drawn: list[Drawn] = []
    left_out: dict[str, str] = {}
    # A study without figures is shown by all its configurations.
    own = results.study.figures or ("bars",)
    for name in dict.fromkeys([*own, *ALWAYS]):
        with style():
            try:
                figures = draw(results, name)
                if taken := {figure.name for figure, _ in drawn} & {f.name for f in figures}:
                    left_out[name] = f"another figure has the name {min(taken)}"
                    continue
                drawn += [(each, inline(save(each, folder).read_text(), each)) for each in figures]
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                left_out[name] = _why(error)
                continue
        if not figures and name in own:
            left_out[name] = "there is nothing to show yet"
    return drawn, left_out


def _tables(
    results: StudyData,
    judged: Sequence[Judged],
    cells: Sequence[Mapping[str, Any]],
    folder: Path,
) -> None:
    every = sum(len(group.lines) for group, _ in judged)
    reached, cost = results_tables(judged, every), cost_tables(judged, every)
    title = f"# {results.study.title}\n\n"
    (folder / "table.md").write_text(title + to_markdown(reached, cost), encoding="utf-8")
    (folder / "table.tex").write_text(to_latex([*reached, *cost]), encoding="utf-8")
    write_csv(folder / "table.csv", cells)
    write_parquet(folder / "table.parquet", cells)
    write_csv(folder / "runs.csv", run_records(results))


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    """Return content as JSON takes it."""
    plain: dict[str, Any] = without_nan(json.loads(json.dumps(content, default=str)))
    return plain
