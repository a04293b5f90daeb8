from __future__ import annotations

import pytest

from lbench.report.table import between, markdown, percent, print_table, settings, signed, text


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
