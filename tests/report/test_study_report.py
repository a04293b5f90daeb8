from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lbench.errors import UsageError
from lbench.home import Home
from lbench.registry import registry
from lbench.report.answers import best
from lbench.report.figures import axis
from lbench.report.study import Report, check, make_report, unrecorded
from lbench.rundir import RunDir
from lbench.studies.lookup import find_study
from lbench.studies.results import StudyData
from tests.report.studies import Trained, measuring


@pytest.fixture(scope="module")
def grid(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return make_report(trained.grid, tmp_path_factory.mktemp("grid"), home=trained.home)


@pytest.fixture(scope="module")
def searched(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return make_report(trained.search, tmp_path_factory.mktemp("search"), home=trained.home)


@pytest.fixture(params=["grid", "searched"])
def report(request: pytest.FixtureRequest) -> Report:
    made: Report = request.getfixturevalue(request.param)
    return made


class Page(HTMLParser):
    """Every element with its attributes, and the text that is read."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._skip = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._skip = tag == "style"

    def handle_data(self, data: str) -> None:
        self.text += "" if self._skip else data

    def values(self, name: str) -> Iterator[str]:
        return (a[name] or "" for _, a in self.elements if name in a)


def test_the_page_names_no_address_outside_itself(report: Report) -> None:
    page = Page(report.page)
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "object"}
    assert not list(page.values("src"))
    hrefs = [*page.values("href"), *page.values("xlink:href")]
    assert hrefs
    assert [href for href in hrefs if not href.startswith("#")] == []
    text = report.page.read_text()
    assert not re.search(r"https?://|@import|url\((?!#)", text)


def test_what_the_page_links_to_is_there_once(report: Report) -> None:
    page = Page(report.page)
    ids = list(page.values("id"))
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in page.values("href")} <= set(ids)


def test_the_page_has_the_question_the_answer_and_the_command(report: Report) -> None:
    text = Page(report.page).text
    for words in ("Question and terms", "Reproduction", report.answer.sentence, "lbench study"):
        assert words in text


def test_every_figure_has_its_pictures_and_its_data_beside_it(report: Report) -> None:
    figures = report.folder / "figures"
    names = [path.stem for path in figures.glob("*.svg")]
    shown = {i.removeprefix("figure-") for i in Page(report.page).values("id") if "figure-" in i}
    assert set(names) <= shown
    assert len(names) >= 4
    for name in names:
        rows = list(csv.DictReader((figures / f"{name}.csv").open()))
        assert rows, name
        assert (figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_looks_the_same_without_the_fonts_of_this_machine(report: Report) -> None:
    for path in (report.folder / "figures").glob("*.svg"):
        assert "<text" not in path.read_text()


@pytest.mark.usefixtures("own_figures")
def test_drawing_changes_no_global_setting_of_matplotlib(trained: Trained, tmp_path: Path) -> None:
    import matplotlib as mpl

    mpl.rcParams["font.size"] = 7.25
    make_report(trained.search, tmp_path, home=trained.home)
    assert mpl.rcParams["font.size"] == 7.25


def test_the_same_results_make_the_same_figures(
    trained: Trained, grid: Report, tmp_path: Path
) -> None:
    again = make_report(trained.grid, tmp_path, home=trained.home)
    for path in (grid.folder / "figures").iterdir():
        assert path.read_bytes() == (again.folder / "figures" / path.name).read_bytes(), path.name


@pytest.mark.usefixtures("own_figures")
def test_a_report_replaces_the_figures_of_an_earlier_one(trained: Trained, tmp_path: Path) -> None:
    earlier = tmp_path / "figures" / "slice-lr.svg"
    make_report(trained.search, tmp_path, home=trained.home)
    assert earlier.exists()
    make_report(trained.grid, tmp_path, home=trained.home)
    assert not earlier.exists()


def test_a_missing_point_and_dataset_stand_in_the_page(grid: Report) -> None:
    text = Page(grid.page).text
    assert "lfnn_l/digits/mlp/leadership=0.5" in text
    assert "mnist was left out: its files are not there" in text


def test_seeds_that_diverged_are_counted_and_told(grid: Report) -> None:
    (row,) = [
        r for r in csv.DictReader((grid.folder / "table.csv").open()) if r["name"] == "wild_bp"
    ]
    assert (row["seeds_finished"], row["seeds_wanted"]) == ("0", "3")
    assert row["test_error"] == ""
    assert row["not_finished"].count("diverged") == 3
    assert "0 of 3" in Page(grid.page).text
    runs = [
        r for r in csv.DictReader((grid.folder / "runs.csv").open()) if r["status"] == "diverged"
    ]
    assert len(runs) == 3
    assert all(r["reason"] for r in runs)


@pytest.mark.usefixtures("undrawn")
def test_the_page_names_the_traceback_of_a_failed_run(trained: Trained, tmp_path: Path) -> None:
    runs = [run for final in trained.grid.finals for run in final.runs]
    run_dir = RunDir(next(run.run_dir for run in runs if run.status != "finished"))
    assert (
        "traceback:"
        not in Page(make_report(trained.grid, tmp_path / "without", home=trained.home).page).text
    )
    run_dir.traceback.write_text("Traceback (most recent call last): …")
    try:
        report = make_report(trained.grid, tmp_path / "with", home=trained.home)
    finally:
        run_dir.traceback.unlink()
    assert f"; traceback: {run_dir.traceback}" in Page(report.page).text


def test_bold_is_the_statistically_best_set_everywhere(grid: Report) -> None:
    rows = list(csv.DictReader((grid.folder / "table.csv").open()))
    best = {f"{float(r['test_error']):.2f}" for r in rows if r["best_set"] == "true"}
    other = {f"{float(r['test_error']):.2f}" for r in rows if r["best_set"] == "false"}
    assert best
    assert other
    markdown = (grid.folder / "table.md").read_text()
    latex = (grid.folder / "table.tex").read_text()
    page = grid.page.read_text()
    for error in best:
        assert f"**{error}" in markdown
        assert rf"\textbf{{{error}" in latex
        assert re.search(rf'<tr class="bold[^"]*">(?:(?!</tr>).)*>{error}', page)
    for error in other:
        assert f"**{error}" not in markdown
        assert rf"\textbf{{{error}" not in latex
        assert not re.search(rf'<tr class="bold[^"]*">(?:(?!</tr>).)*>{error}', page)


def test_csv_and_parquet_say_the_same(grid: Report) -> None:
    flat = list(csv.DictReader((grid.folder / "table.csv").open()))
    table = pq.read_table(grid.folder / "table.parquet").to_pylist()
    assert len(flat) == len(table) == 4
    for one, other in zip(flat, table, strict=True):
        assert list(one) == list(other)
        for name, value in other.items():
            shown = "" if value is None else str(value)
            assert one[name] == (shown.lower() if isinstance(value, bool) else shown)


def test_runs_of_trials_and_of_the_table_are_all_listed(searched: Report) -> None:
    rows = list(csv.DictReader((searched.folder / "runs.csv").open()))
    assert [r["role"] for r in rows].count("final") == 2
    assert [r["trial"] for r in rows if r["role"] == "trial"] == [str(n) for n in range(7)]


def test_a_search_is_told_with_its_counts_its_best_and_its_space(searched: Report) -> None:
    text = Page(searched.page).text
    assert "7 of 7 trials: 4 complete, 2 pruned, 1 fail" in text
    assert "lbench run --rule bp --dataset digits --epochs 2 --lr" in text
    assert "0.0001 ... 0.1, logarithmic" in text
    assert "Failed: trial 6" in text


def test_the_answer_lies_beside_the_page(report: Report) -> None:
    answer = json.loads((report.folder / "answer.json").read_text())
    assert answer["sentence"] == report.answer.sentence
    assert answer["data"]


@pytest.mark.usefixtures("undrawn")
def test_what_stands_in_a_question_cannot_break_the_page(trained: Trained, tmp_path: Path) -> None:
    study = replace(trained.grid.study, question="Is a < b & <script>alert(1)</script>?")
    report = make_report(replace(trained.grid, study=study), tmp_path, home=trained.home)
    page = Page(report.page)
    assert "Is a < b & <script>alert(1)</script>?" in page.text
    assert "script" not in {tag for tag, _ in page.elements}


@pytest.mark.usefixtures("own_figures")
def test_a_figure_that_does_not_fit_is_left_out_and_said(trained: Trained, tmp_path: Path) -> None:
    study = replace(trained.grid.study, figures=("lines:leadershp", "linse", "bars"))
    report = make_report(replace(trained.grid, study=study), tmp_path, home=trained.home)
    assert set(report.left_out) == {"lines:leadershp", "linse"}
    assert "'leadershp'" in report.left_out["lines:leadershp"]
    assert "Figure linse is left out" in Page(report.page).text
    assert (tmp_path / "figures" / "bars.svg").exists()


def broken(*_: Any) -> Any:
    raise ZeroDivisionError("a probe of no row")


@pytest.mark.usefixtures("own_figures")
def test_a_figure_and_an_answer_that_break_do_not_take_the_report_with_them(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(axis, "bars", broken)
    monkeypatch.setattr(best, "best", broken)
    report = make_report(trained.grid, tmp_path, home=trained.home)
    assert report.left_out == {"bars": "ZeroDivisionError: a probe of no row"}
    assert report.answer.sentence == (
        "Undecided: the answer could not be computed (ZeroDivisionError: a probe of no row)."
    )
    assert len(list(csv.DictReader((tmp_path / "table.csv").open()))) == 4


def test_an_analysis_that_there_is_not_is_still_refused(trained: Trained, tmp_path: Path) -> None:
    study = replace(trained.grid.study, analysis="bets")
    with pytest.raises(UsageError, match="Unknown analysis 'bets'"):
        make_report(replace(trained.grid, study=study), tmp_path, home=trained.home)


def reads_of(results: StudyData, folder: Path, home: Home) -> dict[str, int]:
    """By digest, how often the page says that the study read a test set."""
    page = make_report(results, folder, home=home).page.read_text()
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", page, flags=re.DOTALL)
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in rows]
    return {row[2]: int(row[4]) for row in cells if len(row) == 6 and len(row[2]) == 16}


@pytest.mark.usefixtures("undrawn")
def test_a_run_at_two_points_has_read_its_test_set_once(trained: Trained, tmp_path: Path) -> None:
    once = trained.grid
    bp = once.finals[0]
    again = replace(bp, point=replace(bp.point, settings={**bp.point.settings, "equal": "flops"}))
    twice = replace(once, finals=[*once.finals, again])
    expected = sum(run.test_reads for final in once.finals for run in final.runs)
    (reads,) = reads_of(once, tmp_path / "once", trained.home).values()
    assert reads == expected > 0
    assert list(reads_of(twice, tmp_path / "twice", trained.home).values()) == [expected]


@pytest.mark.usefixtures("undrawn")
def test_the_page_has_the_notes_on_the_data_of_its_runs_once(
    trained: Trained, tmp_path: Path
) -> None:
    results, finals = trained.grid, []
    for final in results.finals:
        runs = []
        for run in final.runs:
            copy = tmp_path / "runs" / run.run_dir.name
            copy.mkdir(parents=True, exist_ok=True)
            spec = json.loads((run.run_dir / "spec.json").read_text())
            spec["data"]["notes"] = ["3 of 8 test images are training images as well."]
            (copy / "spec.json").write_text(json.dumps(spec))
            runs.append(replace(run, run_dir=copy))
        finals.append(replace(final, runs=runs))
    results = replace(results, finals=finals)
    page = make_report(results, tmp_path / "report", home=trained.home).page.read_text()
    assert page.count("Digits (8x8): 3 of 8 test images are training images as well.") == 1


@pytest.mark.usefixtures("undrawn")
def test_reads_of_trials_are_those_of_the_dataset_that_they_trained_on(
    trained: Trained, tmp_path: Path
) -> None:
    (search,) = trained.search.searches
    # Of another variant of the same dataset, by the digest of its cell.
    other = trained.search.finals[0]
    other = replace(other, cell=replace(other.cell, data_digest="f" * 64), runs=[])
    trials = [
        replace(trial, runs=[measuring(run, test_reads=3) for run in trial.runs])
        for trial in search.trials
    ]
    results = replace(
        trained.search,
        finals=[other, *trained.search.finals],
        searches=[replace(search, trials=trials)],
    )
    reads = reads_of(results, tmp_path, trained.home)
    mine = trained.search.finals[0]
    digest = mine.cell.data_digest[:16]
    finals = {(run.fingerprint, run.attempt): run.test_reads for run in mine.runs}
    tried = {(run.fingerprint, run.attempt): 3 for trial in trials for run in trial.runs}
    assert reads == {"f" * 16: 0, digest: sum((finals | tried).values())}


def test_a_search_is_called_the_same_everywhere(searched: Report) -> None:
    figures = searched.folder / "figures"
    names = {
        row["search"]
        for name in ("history", "importance", "slice-lr")
        for row in csv.DictReader((figures / f"{name}.csv").open())
    }
    assert names == {"bp, digits"}
    assert "bp, digits" in Page(searched.page).text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"analysis": "bets"}, "Unknown analysis 'bets'"),
        ({"figures": ("bars", "lins:lr")}, "Unknown figure 'lins'"),
    ],
)
def test_a_study_that_asks_for_what_there_is_not_is_told_before(
    trained: Trained, changes: dict[str, Any], words: str
) -> None:
    check(trained.grid.study)
    with pytest.raises(UsageError, match=words):
        check(replace(trained.grid.study, **changes))


@pytest.mark.parametrize("name", registry().studies)
def test_every_installed_study_asks_for_what_there_is(name: str) -> None:
    check(find_study(name, registry()))


def test_a_study_without_any_cell_still_has_a_page(trained: Trained, tmp_path: Path) -> None:
    report = make_report(replace(trained.grid, finals=()), tmp_path, home=trained.home)
    assert report.answer.sentence.startswith("Undecided")
    assert "No configuration has been trained" in Page(report.page).text


def test_a_probe_that_a_figure_or_the_answer_reads_and_no_run_records_is_named() -> None:
    study = find_study("screen", registry())
    asked = replace(study, figures=("linear", "bars", "linear"), analysis="alignment")
    said = unrecorded(asked)
    assert [each.partition(" reads")[0] for each in said] == [
        "The analysis alignment",
        "The figure linear",
    ]
    assert unrecorded(replace(asked, probes=("linear", "alignment"))) == []


@pytest.mark.parametrize("name", registry().studies)
def test_an_installed_study_records_what_it_shows(name: str) -> None:
    assert unrecorded(find_study(name, registry())) == []
