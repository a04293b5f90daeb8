"""Figures and answers of what the probes of leaders and followers record, on runs of digits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from lbench.home import Home
from lbench.output.table import p_words
from lbench.report.entries import draw, entry_function
from lbench.report.figures.figure import style
from lbench.report.study import make_report
from lbench.reporting import StudyData, configurations
from lbench.studies.definition import Arm, Study
from lbench_lfnn.report.leaders import counts
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
    probes=("leaders", "activity", "agreement"),
)
ONLINE = Study(
    name="online",
    title="One pass",
    question="What moves?",
    kind="grid",
    arms=(Arm("lfnn_online", settings={"epochs": 1}),),
    datasets=("digits",),
    networks=("one-vs-all",),
    seeds=1,
    probes=("activity", "leaders"),
)
FIGURES = {
    "leaders": ["leaders", "freezing"],
    "activity": ["activity"],
    "agreement": ["agreement"],
}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StudyData]:
    return grids(tmp_path_factory, WATCHED, ONLINE)


@pytest.fixture(autouse=True)
def styled() -> Iterator[None]:
    with style():
        yield


@pytest.mark.parametrize("name", FIGURES)
def test_a_probes_figure_has_its_data_and_no_text_is_cut(
    studies: dict[str, StudyData], name: str
) -> None:
    assert_drawn(studies["watched"], name, FIGURES[name])


@pytest.mark.parametrize(("name", "drawn"), [("leaders", "freezing"), ("agreement", "agreement")])
def test_no_panel_has_more_lines_than_can_be_told_apart(
    studies: dict[str, StudyData], name: str, drawn: str
) -> None:
    assert_few_lines(studies["watched"], name, drawn)


def test_single_units_are_shown_beside_a_flock(studies: dict[str, StudyData]) -> None:
    (figure,) = draw(studies["online"], "activity")
    assert {row["panel"] for row in figure.data} == {"curves", "workers", "flock"}
    order = [
        row["value"] for row in figure.data if row.get("of") == "Vicsek model of 32, 10 leading"
    ]
    assert order[-1] > order[0]
    assert all(0 <= value <= 1 + 1e-9 for value in order)
    every_text_inside(figure)


@pytest.mark.parametrize(
    ("study", "name", "words"),
    [
        ("watched", "leaders", "Jaccard index with the epoch before"),
        ("watched", "activity", "times as much as a follower's"),
        ("watched", "convexity", "total variation between two"),
        ("online", "activity", "times as much as a follower's"),
    ],
)
def test_an_answer_from_probes_says_what_was_measured(
    studies: dict[str, StudyData], study: str, name: str, words: str
) -> None:
    found = entry_function("analyses", name)(studies[study])
    assert words in found.sentence
    assert found.details
    assert found.data


def beside(results: StudyData, name: str, value: Any) -> StudyData:
    """Every cell twice: as it is, and with another setting."""
    others = [
        replace(f, point=replace(f.point, settings={**f.point.settings, name: value}))
        for f in results.finals
    ]
    return replace(results, finals=[*results.finals, *others])


def test_cells_of_two_datasets_have_series_of_two_names(studies: dict[str, StudyData]) -> None:
    results = studies["watched"]
    moved = [
        replace(f, point=replace(f.point, dataset="mnist"), cell=replace(f.cell, dataset="mnist"))
        for f in results.finals
    ]
    heat, freezing = draw(replace(results, finals=[*results.finals, *moved]), "leaders")
    one, _ = draw(results, "leaders")
    panels = {row["panel"] for row in one.data}
    assert len({row["panel"] for row in heat.data}) == 2 * len(panels)
    assert len({row["series"] for row in freezing.data}) == 2 * len(panels)


def test_several_tests_of_what_leaders_move_are_adjusted(studies: dict[str, StudyData]) -> None:
    found = entry_function("analyses", "activity")(studies["watched"])
    (cell,) = found.data["cells"]
    plain = []
    for when in ("early", "late"):
        lead, follow = (cell["moves"][f"{who} {when}"] for who in ("leader", "follower"))
        plain.append(stats.ttest_rel([lead[s] for s in lead], [follow[s] for s in lead]).pvalue)
    words = " ".join(found.details)
    assert f"{p_words(2 * min(plain))} by Holm" in words
    assert f"{p_words(max(2 * min(plain), max(plain)))} by Holm" in words


def test_leaders_of_several_cells_are_held_against_the_regression_with_adjusted_p(
    studies: dict[str, StudyData],
) -> None:
    once = entry_function("analyses", "convexity")(studies["watched"])
    (alone,) = re.findall(r"a leader by itself.*p = ([\d.e-]+)\)", " ".join(once.details))
    twice = entry_function("analyses", "convexity")(beside(studies["watched"], "momentum", 0.9))
    both = re.findall(r"p = ([\d.e-]+) by Holm", " ".join(twice.details))
    assert [float(p) for p in both] == pytest.approx([min(1.0, 2 * float(alone))] * 2, rel=0.05)


def test_counts_are_the_shares_of_steps_that_each_worker_led(
    studies: dict[str, StudyData],
) -> None:
    (cell,) = configurations(studies["watched"], "leaders")
    for seed, columns in cell.tables.items():
        assert seed in (0, 1)
        for by_epoch in counts(columns).values():
            for shares in by_epoch.values():
                # 30 % of 26 workers are 8 in every step.
                assert shares.sum() == pytest.approx(8)
                assert shares.max() <= 1 + 1e-9


def test_reports_with_probes_lie_in_one_file(studies: dict[str, StudyData], tmp_path: Path) -> None:
    results = studies["online"]
    study = replace(results.study, figures=("activity", "leaders"), analysis="activity")
    report = make_report(replace(results, study=study), tmp_path / "report", home=Home(tmp_path))
    text = report.page.read_text()
    assert "data:image/png;base64," in text
    assert "http" not in text
    assert report.left_out == {}
