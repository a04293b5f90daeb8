"""Figures and answers of what lbench's own probes record, on runs of digits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lbench.report.entries import draw, entry_function
from lbench.report.figures.figure import style
from lbench.reporting.configurations import configurations
from lbench.reporting.curves import smooth, thinned
from lbench.studies.definition import Arm, Study
from lbench.studies.results import StudyData
from lbench_probes.report.tasks import curves
from tests.report.studies import assert_drawn, assert_few_lines, every_text_inside, grids

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

WATCHED = Study(
    name="watched",
    title="Everything watched",
    question="What do probes see?",
    kind="grid",
    arms=(Arm("lfnn_l", settings={"epochs": 3, "leadership": 0.3}),),
    datasets=("digits",),
    seeds=2,
    probes=("online", "linear", "alignment"),
)
SEQUENCE = Study(
    name="sequence",
    title="Tasks",
    question="What is forgotten?",
    kind="grid",
    arms=(
        Arm("bp", settings={"epochs": 1}, axes={"lr": (0.03, 0.3)}),
        Arm("frozen", settings={"epochs": 1}, axes={"lr": (0.03, 0.3)}),
    ),
    datasets=("split-digits",),
    seeds=2,
    probes=("tasks",),
)
FIGURES = {
    "online": ["online"],
    "linear": ["linear"],
    "alignment": ["alignment", "bias-variance"],
}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StudyData]:
    return grids(tmp_path_factory, WATCHED, SEQUENCE)


@pytest.fixture(autouse=True)
def styled() -> Iterator[None]:
    with style():
        yield


@pytest.mark.parametrize("name", FIGURES)
def test_a_probes_figure_has_its_data_and_no_text_is_cut(
    studies: dict[str, StudyData], name: str
) -> None:
    assert_drawn(studies["watched"], name, FIGURES[name])


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("study", "name", "drawn"),
    [
        ("watched", "alignment", "bias-variance"), ("watched", "linear", "linear"),
        ("watched", "online", "online"), ("sequence", "tasks", "plasticity"),
    ],
)  # fmt: skip
def test_no_panel_has_more_lines_than_can_be_told_apart(
    studies: dict[str, StudyData], study: str, name: str, drawn: str
) -> None:
    assert_few_lines(studies[study], name, drawn)


def test_tasks_are_a_matrix_and_a_plane(studies: dict[str, StudyData]) -> None:
    matrices, plane = draw(studies["sequence"], "tasks")
    assert len(matrices.data) == 4 * 2 * 5 * 5
    assert {row["series"] for row in plane.data} == {"bp", "frozen"}
    for figure in (matrices, plane):
        every_text_inside(figure)


@pytest.mark.parametrize(
    ("study", "name", "words"),
    [
        ("watched", "alignment", "the angle of an update to the gradient"),
        ("sequence", "forgetting", "at a learning error of"),
    ],
)
def test_an_answer_from_probes_says_what_was_measured(
    studies: dict[str, StudyData], study: str, name: str, words: str
) -> None:
    found = entry_function("analyses", name)(studies[study])
    assert words in found.sentence
    assert found.details
    assert found.data


def stopped(results: StudyData, root: Path, seeds: set[int]) -> StudyData:
    """The same, as if the probe of these seeds had ended in the middle of the second task."""
    finals = []
    for number, final in enumerate(results.finals):
        runs = []
        for run in final.runs:
            if run.seed in seeds:
                folder = root / f"{number}-{run.seed}"
                shutil.copytree(run.run_dir, folder)
                path = folder / "probes" / "tasks.parquet"
                pq.write_table(pq.read_table(path).slice(0, 7), path)
                runs.append(replace(run, run_dir=folder))
            else:
                runs.append(run)
        finals.append(replace(final, runs=runs))
    return replace(results, finals=finals)


def test_a_seed_whose_tasks_end_early_is_left_out_and_named(
    studies: dict[str, StudyData], tmp_path: Path
) -> None:
    results = stopped(studies["sequence"], tmp_path, {1})
    matrices, _ = draw(results, "tasks")
    assert {row["seed"] for row in matrices.data} == {"0"}
    found = entry_function("analyses", "forgetting")(results)
    assert "at a learning error of" in found.sentence
    lost = [text for text in found.details if "not recorded to the end: seed 1." in text]
    assert len(lost) == 4


def test_without_a_whole_table_of_tasks_forgetting_is_undecided(
    studies: dict[str, StudyData], tmp_path: Path
) -> None:
    results = stopped(studies["sequence"], tmp_path, {0, 1})
    assert draw(results, "tasks") == []
    assert entry_function("analyses", "forgetting")(results).sentence.startswith("Undecided")


def beside(results: StudyData, name: str, value: Any) -> StudyData:
    """Every cell twice: as it is, and with another setting."""
    others = [
        replace(f, point=replace(f.point, settings={**f.point.settings, name: value}))
        for f in results.finals
    ]
    return replace(results, finals=[*results.finals, *others])


def test_a_second_setting_has_a_curve_of_its_own_over_the_rates(
    studies: dict[str, StudyData],
) -> None:
    found = curves(configurations(beside(studies["sequence"], "momentum", 0.9), "tasks"))
    assert len(found) == 4
    assert all(set(curve) == {0.03, 0.3} for seeds in found.values() for curve in seeds.values())
    assert sorted(name.partition(" ")[0] for name in found) == ["bp", "bp", "frozen", "frozen"]


def test_a_probe_that_did_not_run_has_nothing(studies: dict[str, StudyData]) -> None:
    assert configurations(studies["sequence"], "linear") == []


def test_a_smoothed_curve_keeps_its_mean_and_its_ends() -> None:
    values = np.arange(10.0)
    assert smooth(values, 1) is values
    assert smooth(values, 3)[1:-1] == pytest.approx(values[1:-1])
    assert smooth(np.array([1.0, np.nan, 3.0]), 3)[1] == pytest.approx(2)
    assert len(smooth(values, 4)) == 10


def test_a_long_curve_is_thinned_and_keeps_both_ends() -> None:
    kept = list(thinned(1000, 50))
    assert (kept[0], kept[-1], len(kept)) == (0, 999, 50)
    assert list(thinned(5, 50)) == [0, 1, 2, 3, 4]
