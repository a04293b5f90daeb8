"""The matrices of an audit in a terminal."""

from __future__ import annotations

import pytest

from lbench.audit_pages.matrix import Matrix
from lbench.output import table, terminal


def chain(count: int, kind: str = "full") -> Matrix:
    """Return the matrix of backpropagation through this number of layers."""
    names = [f"stage{k // 10}.conv{k % 10}" for k in range(count)]
    cells = [[kind if column > row else "" for column in range(1, count)] for row in range(count)]
    depths = [str(count - 1 - row) for row in range(count)]
    return Matrix("Whose transposed weights?", "changed", names, names[1:], cells, depths)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (table, terminal):
        monkeypatch.setattr(module, "columns", lambda: 80)


@pytest.mark.usefixtures("narrow")
def test_forty_layers_have_a_line_each_in_eighty_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    matrix = chain(40)
    matrix.cells[0][1:4] = ["sign", "scalar", "?"]
    matrix.print()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    first = next(line for line in lines if "stage0.conv0" in line)
    assert first.split() == ["1", "stage0.conv0", "fs1?" + 35 * "f", "39"]
    assert sum("conv" in line for line in lines) == 40
    tens, ones = (line for line in lines if line.strip()[:5].isdigit())
    assert (tens.strip()[:4], ones.strip()[:4]) == ("1111", "2345")
    assert ones.endswith("depth")
    column = first.index("fs1?")
    assert ones[column] == "2"  # the first column is the second layer
    assert any("f: full; s: sign; 1: scalar" in line for line in lines)


@pytest.mark.usefixtures("narrow")
def test_a_column_that_has_no_row_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"a_block_with_a_long_name_{k}" for k in range(5)]
    cells = [["1w" if column >= row else "" for column in range(4)] for row in range(4)]
    Matrix("Whose update moves?", "redrawn", names[:-1], names[1:], cells).print()
    printed = capsys.readouterr().out
    assert "wwww" in printed
    assert f"5 {names[-1]}" in printed


@pytest.mark.usefixtures("narrow")
def test_few_layers_have_words_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    chain(3).print()
    printed = capsys.readouterr().out
    assert ["stage0.conv0", "full", "full", "2"] in [line.split() for line in printed.splitlines()]


def test_piped_output_has_words_whatever_its_width(capsys: pytest.CaptureFixture[str]) -> None:
    chain(40).print()
    printed = capsys.readouterr().out
    assert "ff" not in printed
    assert printed.count("full") == 40 * 39 // 2
