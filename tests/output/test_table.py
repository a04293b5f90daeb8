from __future__ import annotations

import pytest

from lbench.output import table
from lbench.output.table import (
    Table,
    between,
    percent,
    settings,
    signed,
    text,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.7, "0.7"), (1.0, "1"), ([260, 260], "260,260"), (None, "none"), (True, "true"), ("a", "a")],
)
def test_values_look_as_the_command_line_takes_them(value: object, shown: str) -> None:
    assert text(value) == shown


def test_what_is_not_known_is_a_dash() -> None:
    assert percent(None) == settings([]) == "—"
    assert percent(1.796) == "1.80"


def test_markdown_keeps_a_bar_inside_its_cell() -> None:
    assert Table("", ["a", "b"], [["x|y", "1"]], [1]).markdown().splitlines() == [
        "| a | b |",
        "| --- | ---: |",
        "| x\\|y | 1 |",
    ]


def test_piped_tables_are_never_folded(capsys: pytest.CaptureFixture[str]) -> None:
    Table("", ["words"], [["a " * 150]]).print()
    lines = capsys.readouterr().out.splitlines()
    assert [line.count("a") for line in lines if "a" in line] == [150]


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (1.651, 2.149, "[1.65, 2.15]"),
        (1.656, 2.141, "[1.66, 2.14]"),
        (1.1078, 1.1122, "[1.10, 1.12]"),
        (1.1138, 1.1142, "[1.11, 1.12]"),
        (0.0, 0.001, "[0.00, 0.01]"),
        (99.998, 100.0, "[99.99, 100.00]"),
    ],
)
def test_an_interval_never_looks_like_a_point(low: float, high: float, shown: str) -> None:
    assert between(low, high) == shown


def test_a_difference_shows_its_sign() -> None:
    assert signed(0.12, -0.034, 0.271) == "+0.12 [-0.03, +0.27]"
    assert signed(0.5, 0.4996, 0.5004) == "+0.50 [+0.49, +0.51]"
    assert signed(-0.1) == "-0.10"


@pytest.mark.parametrize("room", [40, 60, 80, 100, 120])
def test_names_of_columns_are_broken_between_words_alone(
    room: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "columns", lambda: room)
    names = ["", "rule", "options", "network", "test error %", "not finished"]
    row = ["1", "lfnn_l", OPTIONS, "mlp in 2", "89.97 [86.43, 92.67]*", "1 diverged, 1 killed"]
    Table("", names, [row], [4]).print()
    head, body = parts(capsys.readouterr().out)
    assert set(" ".join(head).split()) == set(" ".join(names).split())
    assert row[4] in " ".join(body)
    if room >= 80:
        assert all(len(line) <= room for line in head + body)


def test_long_words_are_broken_behind_signs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "columns", lambda: 40)
    row = [f"lfnn_l/digits/mlp/{OPTIONS}@bda4cf3b", "BP-free"]
    Table("", ["cell", "audit"], [row]).print()
    _, body = parts(capsys.readouterr().out)
    cells = [line.split()[0] for line in body]
    assert "".join(cells) == f"lfnn_l/digits/mlp/{OPTIONS}@bda4cf3b"
    assert len(cells) > 1
    assert all(cell[-1] in "/=," for cell in cells[:-1])


def test_text_that_nothing_breaks_is_cut_and_none_is_lost(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "columns", lambda: 40)
    rows = [["x" * 100, "学習" * 30], ["", "two\nlines"]]
    Table("", ["text", "wide"], rows).print()
    _, body = parts(capsys.readouterr().out)
    said = "".join(body)
    assert (said.count("x"), said.count("学")) == (100, 30)
    assert [line.split() for line in body[-2:]] == [["two"], ["lines"]]


def test_a_table_is_whole_or_in_the_first_parts_that_cut_no_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["", "first", "second", "third"]
    rows = [["1", "a" * 12, "b" * 12, "c" * 12]]
    layouts = [[(0, 1, 2), (0, 3)], [(0, 1), (0, 2), (0, 3)]]
    tables = {}
    for room in (60, 51, 40, 30):
        monkeypatch.setattr(table, "columns", lambda room=room: room)
        Table("", names, rows, layouts=layouts).print()
        tables[room] = capsys.readouterr().out.count("1 ")
    assert tables == {60: 1, 51: 1, 40: 2, 30: 3}


OPTIONS = "leadership=0.5,selection=example,epochs=2"


def parts(text: str) -> tuple[list[str], list[str]]:
    """The lines above the rule of a printed table, and those below it."""
    lines = [line for line in text.splitlines() if line.strip()]
    (at,) = (at for at, line in enumerate(lines) if set(line) <= {" ", "─"})
    return lines[:at], lines[at + 1 :]
