from __future__ import annotations

import pytest

from lbench.report.table import markdown, percent, print_table, settings, text


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
    assert markdown(["a", "b"], [["x|y", "1"]], right=[1]).splitlines() == [
        "| a | b |",
        "| --- | ---: |",
        "| x\\|y | 1 |",
    ]


def test_piped_tables_are_never_folded(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["words"], [["a " * 150]])
    lines = capsys.readouterr().out.splitlines()
    assert [line.count("a") for line in lines if "a" in line] == [150]
