"""The files of a report whose rules have names that LaTeX, markdown, CSV and HTML read as code."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lbench.report.study import Report, make_report
from lbench.studies.results import StudyData
from tests.report.studies import Trained, with_errors, without_figures

NAMES = (
    "[1] a", "*star", "a_b%c&d#e", "x{y}z", r"~t^u\v", r"$\alpha$ $$", "模型 一", "Модель",
    "rocket 🚀", "naïve é", "one\n\nparagraph", "a|b `tick`", "\"q\" 'r' --", "=SUM(A1)",
    "<b>bold</b>", "λ-rule ℓ", "a_name_of_sixty_letters_that_somebody_wrote_out_without_any_space",
)  # fmt: skip
ROWS = 60
"""Cells of a table that is higher than a page."""
PAGE, TEXT = 48, 90
"""Lines on a page and letters in a line of the article class, about, in ``\\footnotesize``."""


def renamed(results: StudyData, names: Sequence[str]) -> StudyData:
    """The cells of a study again and again, under these names and with errors of their own."""
    base = [final for final in results.finals if final.runs[0].status == "finished"]
    finals = [
        replace(f, point=replace(f.point, label=name))
        for name, f in ((name, base[at % len(base)]) for at, name in enumerate(names))
    ]
    errors = [[5 + at, 5.5 + at, 6.1 + at] for at in range(len(names))]
    study = replace(results.study, figures=("bars",))
    return with_errors(replace(results, study=study, finals=finals), errors)


@pytest.fixture(scope="module")
def report(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("named")
    return make_report(renamed(trained.grid, NAMES), folder, home=trained.home)


@pytest.fixture(scope="module")
def high(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Report:
    names = [f"rule_{number}" for number in range(ROWS)]
    folder = tmp_path_factory.mktemp("high")
    with pytest.MonkeyPatch.context() as patch:
        without_figures(patch)
        return make_report(renamed(trained.grid, names), folder, home=trained.home)


def floats(report: Report) -> list[str]:
    """The tables of a report's LaTeX, one text each."""
    text = (report.folder / "table.tex").read_text(encoding="utf-8")
    return re.findall(r"\\begin\{table\}.*?\\end\{table\}", text, re.DOTALL)


def rows(table: str) -> list[str]:
    """The lines of a table between its rules, each a row."""
    body = table.partition(r"\midrule")[2].partition(r"\bottomrule")[0]
    return body.strip().splitlines()


def cells(row: str) -> list[str]:
    assert row.endswith(r" \\")
    return re.split(r"(?<!\\)&", row.removesuffix(r" \\"))


def stacked(cell: str) -> list[str]:
    """The lines of one cell."""
    inner = re.search(r"\\begin\{tabular\}\[.\]\{@\{\}.@\{\}\}(.*)\\end\{tabular\}", cell)
    return (inner[1] if inner else cell).split(r" \\ ")


def length(line: str) -> int:
    """About how many letters a line prints: a command as one, without its braces."""
    plain = re.sub(r"\\(textbf|begin|end|makebox)\b", "", line)
    plain = re.sub(r"\\[a-zA-Z]+(\{\})?", "x", plain)
    return len(re.sub(r"[\\{}$]", "", plain).strip())


def test_no_row_of_latex_is_taken_for_the_argument_of_the_row_before(report: Report) -> None:
    for table in floats(report):
        assert not re.search(r"\\\\\s*[\[*]", table)
        assert any("{[}1] a" in cells(row)[0] for row in rows(table))


def test_no_empty_line_ends_a_row_or_a_caption_of_latex(report: Report, high: Report) -> None:
    for table in floats(report) + floats(high):
        assert "\n\n" not in table
        assert table.count("{") - table.count(r"\{") == table.count("}") - table.count(r"\}")


def test_every_row_of_latex_has_a_cell_in_every_column(report: Report, high: Report) -> None:
    for table in floats(report) + floats(high):
        kinds = re.search(r"\\lbenchfit\{\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}", table)
        assert kinds is not None
        assert {len(cells(row)) for row in rows(table)} == {len(kinds[1])}


def test_each_table_of_latex_fits_a_page(report: Report, high: Report) -> None:
    for table in floats(report) + floats(high):
        lines = [[stacked(cell) for cell in cells(row)] for row in rows(table)]
        assert sum(max(map(len, row)) for row in lines) <= PAGE
        widths = [
            max(length(line) for cell in column for line in cell)
            for column in zip(*lines, strict=True)
        ]
        assert sum(widths) + 2 * (len(widths) - 1) <= TEXT


def test_a_table_that_goes_on_repeats_the_names_of_its_rows_and_loses_none(high: Report) -> None:
    tables = floats(high)
    errors = [table for table in tables if "test error" in table]
    assert len(errors) > 1
    shown = [cells(row)[0] for table in errors for row in rows(table)]
    names = [re.sub(r"\\textbf\{(.*)\}", r"\1", cell.strip()) for cell in shown]
    assert names == [rf"rule\_{number}" for number in range(ROWS)]
    assert all(re.search(r"caption\{[^}]*\(\d of \d\)", table) for table in errors)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("which", ["report", "high"])
def test_pdflatex_sets_the_tables_within_the_text(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    made: Report = request.getfixturevalue(which)
    (tmp_path / "page.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
        rf"\input{{{made.folder / 'table.tex'}}}\end{{document}}",
    )
    command = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    log = (tmp_path / "page.log").read_text(errors="replace")
    assert done.returncode == 0, log[-3000:]
    assert "Overfull" not in log
    assert "Float too large" not in log


def test_markdown_shows_each_name_in_one_cell(report: Report) -> None:
    lines = (report.folder / "table.md").read_text(encoding="utf-8").splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert {len(re.split(r"(?<!\\)\|", line)) for line in tables[: len(NAMES)]} == {
        len(re.split(r"(?<!\\)\|", tables[0]))
    }
    text = "\n".join(lines)
    for shown in (r"a\|b \`tick\`", r"\*star", r"\<b>bold", "| one paragraph |", r"~t^u\\v"):
        assert shown in text


def test_csv_and_the_page_keep_every_name(report: Report) -> None:
    with (report.folder / "table.csv").open(newline="", encoding="utf-8") as file:
        assert [row["name"] for row in csv.DictReader(file)] == list(NAMES)
    page = report.page.read_text(encoding="utf-8")
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "<b>bold" not in page


def test_every_figure_is_drawn_whatever_the_names(report: Report) -> None:
    assert report.left_out == {}
