"""Tables in LaTeX, for ``booktabs``, each no larger than a page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from lbench.output.table import Table
from lbench.output.wrapping import broken

NAMES = ("rule", "task", "settings")
"""Columns that identify a row. Each part of a table that is too wide repeats them."""
LINE = 88
r"""Letters of ``\footnotesize`` in the 345 pt of the ``article`` class."""
GAP = 2
"""Letters between two columns."""
WORDS = 24
"""Letters of a line in a column of words; longer texts are broken."""
NARROW = 8
"""Letters of a line in a column's name, at least."""
HEIGHT = 48
"""Lines of a table and its notes on a page of the ``article`` class."""
NOTE = 55
"""Letters of a note that take the height of a line of the table."""
HEAD = r"""% Needs \usepackage{booktabs,graphicx}.
\providecommand*\lbenchfit[1]{\sbox0{#1}%
\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi}"""
r"""What is wider than the text, in spite of its broken lines, is made smaller."""


MATHEMATICS = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "η": "eta",
    "θ": "theta", "κ": "kappa", "λ": "lambda", "μ": "mu", "ρ": "rho", "σ": "sigma", "τ": "tau",
    "ω": "omega", "ℓ": "ell", "±": "pm", "×": "times", "≤": "leq", "≥": "geq", "→": "rightarrow",
    "†": "dagger",
}  # fmt: skip
"""Signs that are commands in mathematical mode."""
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "—": "--", "<": "$<$", ">": "$>$", "|": r"\textbar{}", "…": r"\dots{}", "−": "$-$",
    "`": r"\textasciigrave{}", '"': "''",
    # After the end of a row they would be its length or its star.
    "[": "{[}", "*": "{*}",
    **{sign: rf"$\{name}$" for sign, name in MATHEMATICS.items()},
}  # fmt: skip
LETTER = r"\lbenchletter"
DEFINITION = (
    rf"\providecommand*{LETTER}[2]{{\ifcsname u8:\detokenize{{#1}}\endcsname\else"
    r"\expandafter\gdef\csname u8:\detokenize{#1}\endcsname{{\tiny U+#2}}\fi}"
)
"""A definition with which pdfLaTeX prints something for a letter that it does not know."""


def to_latex(tables: Sequence[Table]) -> str:
    """Return a ``table`` of LaTeX for each table, or several where one would not fit a page.

    The columns of a table that is too wide for the text are distributed over several, which
    repeat the names of the rows; so are the rows of one that is too high.
    """
    body = "\n".join(_float(part) for table in tables for part in _parts(table))
    return "\n".join([HEAD, *letters(body), "", body])


def _parts(table: Table) -> Iterator[Table]:
    across = _columns_of_parts(table)
    parts = [(columns, rows) for rows in _rows_of_parts(table) for columns in across]
    for at, (columns, rows) in enumerate(parts):
        part = table.select(columns, rows)
        title = f" ({at + 1} of {len(parts)})" if len(parts) > 1 else ""
        notes = _notes(table, part.columns, first=at == 0) if at < len(across) else ()
        yield replace(part, title=table.title + title, notes=notes)


def _columns_of_parts(table: Table) -> list[list[int]]:
    """Return the columns of each part of the width of the text, the names of rows in each."""
    names = [at for at, column in enumerate(table.columns) if column in NAMES]
    parts = [list(names)]
    for at in range(len(table.columns)):
        if at in names:
            continue
        if parts[-1] != names and _width(table, [*parts[-1], at]) > LINE:
            parts.append(list(names))
        parts[-1].append(at)
    return parts


def _rows_of_parts(table: Table) -> list[list[int]]:
    """Return the rows of each part of the height of a page."""
    left = room = max(1, HEIGHT - len(" ".join(table.notes)) // NOTE)
    parts: list[list[int]] = [[]]
    for at, row in enumerate(table.rows):
        lines = max(len(_lines(table, column, cell)) for column, cell in enumerate(row))
        if lines > left and parts[-1]:
            parts.append([])
            left = room
        parts[-1].append(at)
        left -= lines
    return parts


def _width(table: Table, columns: Sequence[int]) -> int:
    """Return the letters of a line with these columns: the longest line of each."""
    lines = [[*_below(table, at), *_heading(table, at)] for at in columns]
    return sum(max(map(len, column)) for column in lines) + GAP * (len(columns) - 1)


def _heading(table: Table, at: int) -> list[str]:
    """Return the lines of a column's name, no wider than the cells below if words allow that."""
    name = table.columns[at]
    return broken(name, max(NARROW, *map(len, [*name.split(), *_below(table, at)])))


def _below(table: Table, at: int) -> list[str]:
    return [line for row in table.rows for line in _lines(table, at, row[at])]


def _lines(table: Table, at: int, cell: str) -> list[str]:
    return [cell] if at in table.right else broken(cell, WORDS)


def _notes(table: Table, names: Sequence[str], *, first: bool) -> list[str]:
    """Return the notes on a part's columns; a note on no column belongs to the first part."""
    notes = []
    for note in table.notes:
        subject = note.partition(":")[0].lower()
        about = [column for column in table.columns if column.startswith(subject)]
        if set(about) & set(names) or (first and not about):
            notes.append(note)
    return notes


def _float(table: Table) -> str:
    kinds = "".join("r" if at in table.right else "l" for at in range(len(table.columns)))
    head = [
        _stack([escape(line) for line in _heading(table, at)], kind, "b")
        for at, kind in enumerate(kinds)
    ]
    rows = [
        [_cell(table, at, cell, bold=index in table.bold) for at, cell in enumerate(row)]
        for index, row in enumerate(table.rows)
    ]
    caption = escape(" ".join([table.title + ".", *table.notes]))
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
            rf"\caption{{{caption}}}\par\smallskip",
            rf"\lbenchfit{{\begin{{tabular}}{{@{{}}{kinds}@{{}}}}",
            r"\toprule",
            _row(head),
            r"\midrule",
            *map(_row, rows),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def _cell(table: Table, at: int, cell: str, *, bold: bool) -> str:
    right = at in table.right
    printed = [number(line) if right else escape(line) for line in _lines(table, at, cell)]
    if bold:
        printed = [rf"\textbf{{{line}}}" for line in printed]
    return _stack(printed, "r" if right else "l", "t")


def _stack(lines: Sequence[str], kind: str, side: str) -> str:
    """Return the lines of a cell, whose top or bottom is aligned with the row."""
    if len(lines) == 1:
        return lines[0]
    content = r" \\ ".join(lines)
    return rf"\begin{{tabular}}[{side}]{{@{{}}{kind}@{{}}}}{content}\end{{tabular}}"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def escape(text: str) -> str:
    """Return a text as LaTeX prints it, in one paragraph."""
    # An empty line would end a paragraph, which neither a cell nor a caption can do.
    joined = " ".join(text.split())
    escaped = "".join(
        SPECIAL.get(letter, letter if letter.isprintable() else "?") for letter in joined
    )
    # Two hyphens would become a dash.
    return re.sub(r"-(?=-)", "-{}", escaped)


def number(text: str) -> str:
    """Return a cell of numbers as LaTeX prints it: the sign of a negative one is a minus."""
    return re.sub(r"(?<![\w.])-(?=\.?\d)", "$-$", escape(text))


def letters(text: str) -> list[str]:
    """Return definitions of letters that pdfLaTeX may not know: Cyrillic, Chinese, emoji.

    A letter that the document has a font for is printed with it, any other as its code. XeLaTeX
    and LuaLaTeX ignore them and use the document's font.
    """
    foreign = sorted({letter for letter in text if not letter.isascii()})
    if not foreign:
        return []
    return [DEFINITION, *(rf"{LETTER}{{{letter}}}{{{ord(letter):04X}}}" for letter in foreign)]
