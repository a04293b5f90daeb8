"""Figures and answers of what probes measured, on runs of digits with every probe."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

from lbench.report.answers import ANSWERS
from lbench.report.answers.continual import curves
from lbench.report.figures import draw
from lbench.report.figures.figure import style
from lbench.report.leading import counts, entropy, held, jaccard, most, moves, over_epochs
from lbench.report.measured import measured, read, smooth, thinned
from lbench.study.definition import Arm, Study
from lbench.study.results import Results
from tests.report.studies import crowded, every_text_inside, grid

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

WATCHED = Study(
    name="watched",
    title="Everything watched",
    question="What do probes see?",
    kind="grid",
    arms=(Arm("lfnn_l", settings={"epochs": 3, "leadership": 0.3}),),
    datasets=("digits",),
    seeds=2,
    probes=("online", "linear", "alignment", "leaders", "activity", "agreement"),
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
    "leaders": ["leaders", "freezing"],
    "activity": ["activity"],
    "agreement": ["agreement"],
}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LBENCH_STORE", raising=False)
        return {
            study.name: grid(study, tmp_path_factory.mktemp(study.name))
            for study in (WATCHED, ONLINE, SEQUENCE)
        }


@pytest.fixture(autouse=True)
def styled() -> Iterator[None]:
    with style():
        yield


@pytest.mark.parametrize("name", FIGURES)
def test_a_probes_figure_has_its_data_and_no_text_is_cut(
    studies: dict[str, Results], name: str
) -> None:
    figures = draw(studies["watched"], name)
    assert [figure.name for figure in figures] == FIGURES[name]
    for figure in figures:
        assert figure.data
        every_text_inside(figure)


@pytest.mark.parametrize(
    ("study", "name", "drawn"),
    [
        ("watched", "alignment", "bias-variance"), ("watched", "leaders", "freezing"),
        ("watched", "linear", "linear"), ("watched", "agreement", "agreement"),
        ("watched", "online", "online"), ("sequence", "tasks", "plasticity"),
    ],
)  # fmt: skip
def test_no_panel_has_more_lines_than_can_be_told_apart(
    studies: dict[str, Results], study: str, name: str, drawn: str
) -> None:
    many = crowded(studies[study], 14)
    with style():
        (figure,) = [each for each in draw(many, name) if each.name == drawn]
        every_text_inside(figure)
    for each in figure.picture.axes:
        assert len({line.get_label() for line in each.lines if line.get_label()[0] != "_"}) <= 11
    assert "in the data" in figure.caption or "the data have all" in figure.caption
    assert len({row["series"] for row in figure.data}) >= 14


def test_single_units_are_shown_beside_a_flock(studies: dict[str, Results]) -> None:
    (figure,) = draw(studies["online"], "activity")
    assert {row["panel"] for row in figure.data} == {"curves", "workers", "flock"}
    order = [
        row["value"] for row in figure.data if row.get("of") == "Vicsek model of 32, 10 leading"
    ]
    assert order[-1] > order[0]
    assert all(0 <= value <= 1 + 1e-9 for value in order)
    every_text_inside(figure)


def test_tasks_are_a_matrix_and_a_plane(studies: dict[str, Results]) -> None:
    matrices, plane = draw(studies["sequence"], "tasks")
    assert len(matrices.data) == 4 * 2 * 5 * 5
    assert {row["series"] for row in plane.data} == {"bp", "frozen"}
    for figure in (matrices, plane):
        every_text_inside(figure)


@pytest.mark.parametrize(
    ("study", "name", "words"),
    [
        ("watched", "leaders", "Jaccard index with the epoch before"),
        ("watched", "activity", "times as much as a follower's"),
        ("watched", "convexity", "total variation between two"),
        ("watched", "alignment", "the angle of an update to the gradient"),
        ("online", "activity", "times as much as a follower's"),
        ("sequence", "forgetting", "at a learning error of"),
    ],
)
def test_an_answer_from_probes_says_what_was_measured(
    studies: dict[str, Results], study: str, name: str, words: str
) -> None:
    found = ANSWERS[name](studies[study])
    assert words in found.sentence
    assert found.details
    assert found.data


def stopped(results: Results, root: Path, seeds: set[int]) -> Results:
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
    studies: dict[str, Results], tmp_path: Path
) -> None:
    results = stopped(studies["sequence"], tmp_path, {1})
    matrices, _ = draw(results, "tasks")
    assert {row["seed"] for row in matrices.data} == {"0"}
    found = ANSWERS["forgetting"](results)
    assert "at a learning error of" in found.sentence
    lost = [text for text in found.details if "not recorded to the end: seed 1." in text]
    assert len(lost) == 4


def test_without_a_whole_table_of_tasks_forgetting_is_undecided(
    studies: dict[str, Results], tmp_path: Path
) -> None:
    results = stopped(studies["sequence"], tmp_path, {0, 1})
    assert draw(results, "tasks") == []
    assert ANSWERS["forgetting"](results).sentence.startswith("Undecided")


def beside(results: Results, name: str, value: Any) -> Results:
    """Every cell twice: as it is, and with another setting."""
    others = [
        replace(f, point=replace(f.point, settings={**f.point.settings, name: value}))
        for f in results.finals
    ]
    return replace(results, finals=[*results.finals, *others])


def test_a_second_setting_has_a_curve_of_its_own_over_the_rates(
    studies: dict[str, Results],
) -> None:
    found = curves(measured(beside(studies["sequence"], "momentum", 0.9), "tasks"))
    assert len(found) == 4
    assert all(set(curve) == {0.03, 0.3} for seeds in found.values() for curve in seeds.values())
    assert sorted(name.partition(" ")[0] for name in found) == ["bp", "bp", "frozen", "frozen"]


def test_cells_of_two_datasets_have_series_of_two_names(studies: dict[str, Results]) -> None:
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


def test_several_tests_of_what_leaders_move_are_adjusted(studies: dict[str, Results]) -> None:
    found = ANSWERS["activity"](studies["watched"])
    (cell,) = found.data["cells"]
    plain = []
    for when in ("early", "late"):
        lead, follow = (cell["moves"][f"{who} {when}"] for who in ("leader", "follower"))
        plain.append(stats.ttest_rel([lead[s] for s in lead], [follow[s] for s in lead]).pvalue)
    words = " ".join(found.details)
    assert f"p = {2 * min(plain):.2g} by Holm" in words
    assert f"p = {max(2 * min(plain), max(plain)):.2g} by Holm" in words


def test_leaders_of_several_cells_are_held_against_the_regression_with_adjusted_p(
    studies: dict[str, Results],
) -> None:
    once = ANSWERS["convexity"](studies["watched"])
    (alone,) = re.findall(r"a leader by itself.*p = ([\d.e-]+)\)", " ".join(once.details))
    twice = ANSWERS["convexity"](beside(studies["watched"], "momentum", 0.9))
    both = re.findall(r"p = ([\d.e-]+) by Holm", " ".join(twice.details))
    assert [float(p) for p in both] == pytest.approx([min(1.0, 2 * float(alone))] * 2, rel=0.05)


def test_a_probe_that_did_not_run_has_nothing(studies: dict[str, Results]) -> None:
    assert measured(studies["sequence"], "leaders") == []


def test_counts_are_the_shares_of_steps_that_each_worker_led(studies: dict[str, Results]) -> None:
    final = studies["watched"].finals[0]
    for seed, columns in read(final, "leaders").items():
        assert seed in (0, 1)
        for by_epoch in counts(columns).values():
            for shares in by_epoch.values():
                # 30 % of 26 workers are 8 in every step.
                assert shares.sum() == pytest.approx(8)
                assert shares.max() <= 1 + 1e-9


def test_leadership_that_stays_is_frozen_and_that_which_turns_is_not() -> None:
    columns: dict[str, list[Any]] = {"block": [], "label": [], "epoch": [], "leads": []}
    for epoch, leads in ((1, [1, 1, 0, 0]), (2, [1, 1, 0, 0]), (3, [0, 0, 1, 1])):
        for name, value in (("block", 0), ("label", None), ("epoch", epoch), ("leads", leads)):
            columns[name].append(value)
    found = over_epochs(columns)[0]
    assert "jaccard" not in found[1]
    assert (found[2]["jaccard"], found[3]["jaccard"]) == (1.0, 0.0)
    assert found[1]["held"] == 1.0
    assert found[1]["entropy"] == pytest.approx(0.5)


def test_entropy_is_one_where_all_lead_alike_and_zero_where_one_does() -> None:
    assert entropy(np.full(8, 0.25)) == pytest.approx(1)
    assert entropy(np.array([1.0, 0, 0, 0])) == 0
    assert most(np.array([0.2, 0.9, 0.9, 0.0])) == {1, 2}
    assert held(np.array([0.2, 0.9, 0.9, 0.0])) == pytest.approx(0.9)
    assert jaccard({1, 2}, {2, 3}) == pytest.approx(1 / 3)


def test_leaders_and_followers_are_weighed_by_how_much_they_led() -> None:
    columns = {
        "step": [1, 2],
        "label": [0, 0],
        "change": [[0.4, -0.2, 0.1], [0.3, 0.3, 0.3]],
        "leads": [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]],
    }
    found = moves(columns)
    assert found.leaders == pytest.approx([0.4, 0.3])
    assert found.followers[0] == pytest.approx(0.15)
    assert np.isnan(found.followers[1])
    assert found.order == pytest.approx([0.3 / 0.7, 1.0])


def test_predictions_of_all_classes_have_no_order() -> None:
    columns = {"step": [1], "label": [None], "change": [[0.4, 0.2]], "leads": [[1.0, 0.0]]}
    assert moves(columns).order is None


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


def test_reports_with_probes_lie_in_one_file(studies: dict[str, Results], tmp_path: Path) -> None:
    from lbench.home import Home
    from lbench.report.study import make_report

    results = studies["online"]
    study = replace(results.study, figures=("activity", "leaders"), analysis="activity")
    report = make_report(replace(results, study=study), tmp_path / "report", home=Home(tmp_path))
    text = report.page.read_text()
    assert "data:image/png;base64," in text
    assert "http" not in text
    assert report.left_out == {}
