"""An audit's report as a picture: verdict, claims and measurements, and the two matrices."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from lbench.audit_pages import matrix as matrices
from lbench.audit_pages.matrix import LETTERS, NOTHING, UNKNOWN, WAITS, Matrix
from lbench.audit_pages.text import FINE, unmeasured, words
from lbench.audit_pages.words import UNMEASURED
from lbench.auditing.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From the colour-blind-safe palette of Okabe and Ito; letters repeat the colours.
GREY, SKY, BLUE, ORANGE, RED, WHITE = "#f0f0f0", "#56b4e9", "#0072b2", "#e69f00", "#d55e00", "#fff"
GREEN = "#00785a"
COLOURS = {NOTHING: GREY, UNKNOWN: WHITE, "scalar": SKY, "sign": ORANGE, "full": RED}
UNIT_LEGEND = (
    ("1, 2, …", SKY, "it moves, first at this step"),
    (f"1{WAITS}", BLUE, "it moves, and cannot be made before the column has run"),
    (NOTHING, GREY, "it never moves"),
)
LAYER_LEGEND = (
    ("full", RED, "full: the transposed weights reach it"),
    ("sign", ORANGE, "sign: their signs alone reach it"),
    ("scalar", SKY, "scalar: one number per example reaches it"),
    (NOTHING, GREY, "nothing reaches it"),
    (UNKNOWN, WHITE, "not measurable"),
)
SMALL = 8
"""Size of the font, in points."""
CHARACTER, LINE = 0.07, 0.19
"""Width of a character and height of a line in that size, in inches."""
LARGEST, SMALLEST, MOST = 0.46, 0.2, 6.0
"""Largest and smallest side of a cell; between them a matrix has at most this side. In inches."""
GAP = 0.3


def draw(report: Report, path: Path) -> None:
    """Write the picture in the format of the ending of ``path``.

    Raises:
        OSError: the file cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    units = Panel(matrices.units(report), "columns: redrawn unit (gives)", UNIT_LEGEND)
    layers = Panel(
        matrices.layers(report), "columns: changed layer (gives), outputs held", LAYER_LEGEND
    )
    table = words(report)
    left = max(4.2, units.width)
    width = left + layers.width + 3 * GAP
    top = _heading(report, int((width - 2 * GAP) / CHARACTER))
    head = LINE * (len(top) + 1)
    height = head + max(LINE * (len(table) + 3) + units.height, layers.height) + 2 * GAP
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    for line, (text, colour) in enumerate(top):
        _write(
            figure, GAP, GAP + LINE * line, text, color=colour, weight="normal" if line else "bold"
        )
    _table(figure, GAP, GAP + head, table)
    units.draw(figure, GAP, GAP + head + LINE * (len(table) + 3))
    layers.draw(figure, left + 2 * GAP, GAP + head)
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(path, dpi=150)


class Panel:
    """A matrix with names at its rows and columns, and a legend below.

    Args:
        matrix: the drawn matrix.
        columns: a description of its columns.
        legend: text of a cell, its colour and its meaning.
    """

    def __init__(
        self, matrix: Matrix, columns: str, legend: tuple[tuple[str, str, str], ...]
    ) -> None:
        self.matrix = matrix
        self.columns = columns
        seen = {text for row in matrix.cells for text in row if text}
        self.legend = [entry for entry in legend if _kind(entry[0]) in {_kind(t) for t in seen}]
        self.names = [*matrix.columns, *(["depth"] if matrix.depths else [])]
        most = max(len(self.names), len(matrix.rows))
        self.cell = min(LARGEST, max(SMALLEST, MOST / most))
        self.left = CHARACTER * max(map(len, [*matrix.rows, "update of (receives)"])) + 0.1
        self.above = LINE * 2 + 0.1 + CHARACTER * max(map(len, self.names))
        cells = self.left + self.cell * len(self.names)
        said = CHARACTER * max(
            len(matrix.title), len(columns), *(len(text) + 9 for _, _, text in legend)
        )
        self.width = max(cells, said)
        rows = self.cell * len(matrix.rows)
        self.height = self.above + rows + LINE * (len(self.legend) + 2)

    def draw(self, figure: Figure, x: float, y: float) -> None:
        """Draw the panel with its upper left corner at (x, y), in inches."""
        matrix, cell = self.matrix, self.cell
        _write(figure, x, y, matrix.title, weight="bold")
        _write(figure, x, y + LINE, self.columns)
        _write(figure, x, y + self.above - LINE, "update of (receives)")
        wide, high = cell * len(self.names), cell * len(matrix.rows)
        axes = _axes(figure, x + self.left, y + self.above, wide, high)
        axes.set_xlim(-0.5, len(self.names) - 0.5)
        axes.set_ylim(len(matrix.rows) - 0.5, -0.5)
        axes.set_xticks(range(len(self.names)), self.names, rotation=90, fontsize=SMALL)
        axes.set_yticks(range(len(matrix.rows)), matrix.rows, fontsize=SMALL)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        short = cell < 0.4
        for row, line in enumerate(matrix.cells):
            for column, text in enumerate(line):
                if text:
                    _square(axes, column, row, text, short=short)
        for row, depth in enumerate(matrix.depths):
            axes.text(len(self.names) - 1, row, depth, ha="center", va="center", fontsize=7)
        self._legend(figure, x, y + self.above + high + LINE, short=short)

    def _legend(self, figure: Figure, x: float, y: float, *, short: bool) -> None:
        for at, (text, _, meaning) in enumerate(self.legend):
            axes = _axes(figure, x, y + LINE * at, LARGEST, LINE * 0.85)
            axes.set_axis_off()
            axes.set_xlim(-0.5, 0.5)
            axes.set_ylim(0.5, -0.5)
            _square(axes, 0, 0, text, short=short)
            _write(figure, x + LARGEST + 0.08, y + LINE * at, meaning)
        if not self.legend:
            _write(figure, x, y, "nothing to show")


def _heading(report: Report, most: int) -> list[tuple[str, str]]:
    """Return the title and the verdict as lines of limited width, each with its colour."""
    lines = [(f"{report.subject} on {report.network}", "black")]
    lines += [(f"CONTRADICTED  {text}", RED) for text in report.contradictions]
    lines += [(text, RED) for text in unmeasured(report)]
    if report.verdict == "as claimed":
        lines.append((FINE, GREEN))
    return [(line, colour) for text, colour in lines for line in textwrap.wrap(text, most)]


def _table(figure: Figure, x: float, y: float, rows: list[list[str]]) -> None:
    """Write claims and measurements side by side."""
    claimed, measured = x + 1.4, x + 2.3
    _write(figure, claimed, y, "claimed", weight="bold")
    _write(figure, measured, y, "measured", weight="bold")
    for at, (name, one, two, wrong) in enumerate(rows, start=1):
        colour = RED if wrong or two == UNMEASURED else "black"
        weight = "bold" if wrong else "normal"
        _write(figure, x, y + LINE * at, name, color=colour)
        _write(figure, claimed, y + LINE * at, one, color=colour)
        text = f"{two}  {wrong}".strip()
        _write(figure, measured, y + LINE * at, text, color=colour, weight=weight)


def _axes(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Return axes with their upper left corner at (x, y), in inches."""
    across, down = figure.get_size_inches()
    bottom = 1 - (y + height) / down
    return figure.add_axes((x / across, bottom, width / across, height / down))


def _write(
    figure: Figure, x: float, y: float, text: str, *, color: str = "black", weight: str = "normal"
) -> None:
    width, height = figure.get_size_inches()
    figure.text(
        x / width, 1 - y / height, text, va="top", fontsize=SMALL, color=color, weight=weight
    )


def _square(axes: Axes, x: int, y: int, text: str, *, short: bool) -> None:
    from matplotlib.patches import Rectangle

    colour = COLOURS.get(text) or (BLUE if text.endswith(WAITS) else SKY)
    edge = "#888" if text == UNKNOWN else WHITE
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor=edge))
    shown = LETTERS.get(text, text) if short else text
    light = WHITE if colour in (BLUE, RED) else "black"
    axes.text(x, y, shown, ha="center", va="center", fontsize=7, color=light)


def _kind(text: str) -> str:
    """Return the kind of a cell: cells of one kind have one colour."""
    return text if text in COLOURS else WAITS if text.endswith(WAITS) else "moved"
