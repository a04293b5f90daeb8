"""Text and tables in LaTeX."""

from __future__ import annotations

import pytest

from lbench.output.latex import escape, letters, number, to_latex
from lbench.output.table import Table
from lbench.output.wrapping import broken


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("lfnn_l", r"lfnn\_l"),
        ("50 % & more", r"50 \% \& more"),
        (r"a\b{c}", r"a\textbackslash{}b\{c\}"),
        ("1.8 ± 0.1", r"1.8 $\pm$ 0.1"),
        ("< 0.001", "$<$ 0.001"),
        ("~#$^", r"\textasciitilde{}\#\$\textasciicircum{}"),
        ("[1] a", "{[}1] a"),
        ("*a", "{*}a"),
        ("a\n\n b\t", "a b"),
        ("a--b---c", "a-{}-b-{}-{}-c"),
        ("a|b`c`", r"a\textbar{}b\textasciigrave{}c\textasciigrave{}"),
        ("bell\x07", "bell?"),
        ("", ""),
    ],
)
def test_latex_gets_what_it_can_print(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_a_negative_number_has_a_minus_and_a_range_or_a_name_has_none() -> None:
    assert number("-0.03 [-0.12, +0.05]") == "$-$0.03 {[}$-$0.12, +0.05]"
    assert number("1e-05") == "1e-05"


def test_letters_outside_ascii_are_defined_for_pdflatex_once() -> None:
    assert letters("plain") == []
    assert letters("模型模")[1:] == [r"\lbenchletter{型}{578B}", r"\lbenchletter{模}{6A21}"]


def test_a_name_is_broken_behind_its_signs_and_within_a_word_that_is_too_long() -> None:
    assert broken("lfnn_l_head leadership=0.3", 12) == ["lfnn_l_head", "leadership=", "0.3"]
    assert broken("abcdefgh", 3) == ["abc", "def", "gh"]
    assert broken("", 3) == [""]


def test_a_latex_table_has_booktabs_rules_and_as_many_cells_a_row() -> None:
    table = Table("A & B", ("rule", "test error %"), [["bp", "1.0"], ["lfnn_l", "2.0"]], [1], [0])
    text = to_latex([table])
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{@{}lr@{}}"):
        assert rule in text
    assert r"\textbf{bp} & \textbf{1.0} \\" in text
    assert r"lfnn\_l & 2.0 \\" in text
    assert r"\caption{A \& B.}" in text


def test_columns_that_do_not_fit_stand_in_another_table_with_their_note() -> None:
    wide = [f"number {at}" for at in range(8)]
    notes = ["Bold: the best.", "Number 7: the last column."]
    rows = [["bp", *["x" * 20] * 8]]
    text = to_latex([Table("T", ("rule", *wide), rows, range(1, 9), notes=notes)])
    first, *_, last = text.split(r"\end{table}")[:-1]
    assert "T (1 of 3). Bold: the best." in first
    assert "Number 7" not in first
    assert "T (3 of 3). Number 7: the last column." in last
    assert all("bp &" in part for part in (first, last))
