"""What ``lbench.reporting`` gives to the figures and analyses of plugins."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lbench.hooks import AnalysisEntry, FigureEntry
from lbench.report.figures.figure import style
from lbench.reporting import Answer, StudyData, by_task, configurations, with_unique_titles
from tests.report.studies import Trained

PAGE = (Path(__file__).parents[2] / "docs" / "reports.md").read_text()


def with_tables(results: StudyData, root: Path) -> StudyData:
    """The same, as if the probe ``mine`` had recorded three steps in each run."""
    finals = []
    for number, final in enumerate(results.finals):
        runs = []
        for run in final.runs:
            folder = root / f"{number}-{run.seed}"
            shutil.copytree(run.run_dir, folder)
            table = {"step": [1, 2, 3], "epoch": [1, 1, 1], "value": [3.0, 2.0, 1.0 + run.seed]}
            (folder / "probes").mkdir(exist_ok=True)
            pq.write_table(pa.table(table), folder / "probes" / "mine.parquet")
            runs.append(replace(run, run_dir=folder))
        finals.append(replace(final, runs=runs))
    return replace(results, finals=finals)


@pytest.fixture
def recorded(trained: Trained, tmp_path: Path) -> StudyData:
    return with_tables(trained.grid, tmp_path)


def test_a_cell_has_what_the_tables_of_the_report_have(trained: Trained) -> None:
    cells = configurations(trained.grid)
    assert [cell.title for cell in cells] == [
        "bp", "lfnn_l leadership=0.3", "lfnn_l leadership=0.9", "wild_bp",
    ]  # fmt: skip
    for cell, final in zip(cells, trained.grid.finals, strict=True):
        assert cell.id == final.cell.cell_id
        assert (cell.rule, cell.dataset, cell.network) == (final.cell.rule, "digits", "mlp")
        assert cell.settings == final.point.settings
        assert cell.tables == {}
        assert cell.errors == {
            run.seed: run.test_error for run in final.runs if run.status == "finished"
        }
    test = cells[0].test_error
    assert test is not None
    assert cells[0].test_error_text.startswith(f"{test.mean:.2f} % [")
    assert cells[0].test_error_text.endswith("3 of 3 seeds")
    assert cells[-1].test_error is None
    assert cells[-1].test_error_text == "no finished run"


def test_cells_of_a_probe_are_those_that_have_its_tables(recorded: StudyData) -> None:
    assert configurations(recorded, "other") == []
    cells = configurations(recorded, "mine")
    # The runs of the last arm diverged.
    assert [cell.title.split()[0] for cell in cells] == ["bp", "lfnn_l", "lfnn_l"]
    assert cells[0].tables[2] == {
        "step": [1, 2, 3], "epoch": [1, 1, 1], "value": [3.0, 2.0, 3.0],
    }  # fmt: skip


def test_cells_are_grouped_by_place_and_have_names_that_no_other_has(
    recorded: StudyData,
) -> None:
    cells = configurations(recorded, "mine")
    (place,) = {cell.task for cell in cells}
    assert by_task(cells) == {place: cells}
    assert place == cells[0].setup == "Digits (8x8), mlp"
    names = [name for name, _ in with_unique_titles(cells)]
    assert names == ["bp, digits", "lfnn_l leadership=0.3, digits", "lfnn_l leadership=0.9, digits"]


def test_the_margin_is_that_of_the_study(trained: Trained) -> None:
    assert trained.grid.margin == 0.5
    assert trained.search.margin is None


def page_names() -> dict[str, Any]:
    """What the two Python blocks of the page define."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(block, names)
    return names


def test_the_pages_hooks_return_entries() -> None:
    names = page_names()
    (figure,), (analysis,) = names["lbench_figures"](), names["lbench_analyses"]()
    assert isinstance(figure, FigureEntry)
    assert isinstance(analysis, AnalysisEntry)
    assert figure.probe == analysis.probe == "mine"


def test_the_pages_figure_and_analysis_show_what_was_recorded(
    trained: Trained, recorded: StudyData
) -> None:
    names = page_names()
    with style():
        assert names["figures"](trained.grid, "") == []
        (figure,) = names["figures"](recorded, "")
    assert len(figure.data) == 3 * 3 * 3
    found = names["analysis"](recorded)
    assert isinstance(found, Answer)
    assert found.sentence.startswith("bp ends at 2.00 [-0.48, 4.48]; lfnn_l leadership=0.3 ends at")
    assert found.data["bp"] == [1.0, 2.0, 3.0]
    assert names["analysis"](trained.grid).sentence == "Undecided: nothing was recorded."
