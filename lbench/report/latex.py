"""Tables in LaTeX, for ``booktabs``."""

from __future__ import annotations

from collections.abc import Sequence

from lbench.report.study_table import Table
from lbench.report.verdict import SET

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "—": "--", "<": "$<$", ">": "$>$", "λ": r"$\lambda$", "…": r"\dots{}",
    "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$",
}  # fmt: skip


def escape(text: str) -> str:
    """A text as LaTeX prints it."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def to_latex(tables: Sequence[Table]) -> str:
    """Return one ``table`` each; bold as in :data:`lbench.report.verdict.SET`."""
    head = "% Needs \\usepackage{booktabs}; bold: " + SET + ".\n"
    return head + "\n".join(_table(table) for table in tables)


def _table(table: Table) -> str:
    right = set(table.right)
    kinds = "".join("r" if at in right else "l" for at in range(len(table.columns)))
    bold = set(table.bold)
    lines = [
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{escape(' '.join([table.title + '.', *table.notes]))}}}",
        rf"\begin{{tabular}}{{{kinds}}}",
        r"\toprule",
        _row([escape(column) for column in table.columns]),
        r"\midrule",
        *(
            _row([rf"\textbf{{{escape(c)}}}" if at in bold else escape(c) for c in row])
            for at, row in enumerate(table.rows)
        ),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
