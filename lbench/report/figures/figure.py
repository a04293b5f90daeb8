"""A figure: a picture with its data, drawn without pyplot and in one style."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lbench.output.records import write_csv
from lbench.output.wrapping import broken

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

T = TypeVar("T")
Point = tuple[float, float, float, float]
"""Position, value, and lower and upper end of a band."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6E6E6E")
"""The colour-blind-safe palette of Okabe & Ito without yellow, which fades on white."""
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK = "#1a1a1b"
PAPER = "#fefefe"
"""Colours of text and background that nothing else has, so that a page can replace them."""
FAINT = "#8a8a8b"
WIDE = 10.0
"""Inches: as wide as a page, so that text keeps its size."""
ACROSS = 3
LINES = 7
"""Lines in one panel: more cannot be distinguished."""
PANELS = 15
"""Panels of a figure; its data have all."""
TALL = 10
"""Rows of a legend above which its picture is as wide as a page."""
ENTRY = 0.2
"""Inches of a row of a legend."""
DECADES = 30.0
"""Values whose ratio is larger have a logarithmic axis."""

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "legend.fontsize": 8.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "legend.frameon": False,
    # Text as outlines: the same everywhere, whatever fonts there are.
    "svg.fonttype": "path",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture and what it shows.

    Args:
        name: of its files.
        title: one line above it.
        caption: what a reader must know: units, bands, what is left out.
        picture: as matplotlib has it.
        data: a flat object per point, with everything that is drawn and what is left out.
    """

    name: str
    title: str
    caption: str
    picture: Picture
    data: Sequence[Mapping[str, Any]]


@contextmanager
def style() -> Iterator[None]:
    """Apply the style of all figures while they are drawn and written, without global traces."""
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box, which needs no warning.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)  # type: ignore[arg-type]
        yield


def panels(
    count: int, *, across: int = ACROSS, width: float = WIDE, height: float = 3.0
) -> tuple[Picture, list[Axes]]:
    """Return a picture with this number of axes, in rows.

    Args:
        count: of the axes.
        across: axes in a row, at most.
        width: inches of the whole picture where the first row is full.
        height: inches of a row.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    across = max(1, min(across, count))
    down = math.ceil(count / across)
    # One panel alone is not drawn as wide as a page.
    share = {1: 0.66, 2: 0.9}.get(across, 1.0) if width == WIDE else 1.0
    picture = Canvas(figsize=(width * share, height * down), layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.subplots(down, across, squeeze=False)
    flat = list(axes.flat)
    for unused in flat[count:]:
        unused.set_visible(False)
    return picture, flat[:count]


def look(index: int) -> dict[str, Any]:
    """Return colour, line and marker of a series; all three differ from one to the next."""
    turn = index // len(COLOURS)
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[(index + turn) % len(DASHES)],
        "marker": MARKERS[(index + 2 * turn) % len(MARKERS)],
    }


def legend(picture: Picture, axes: Sequence[Axes]) -> None:
    """Add one legend for all axes below them, where it covers nothing; none for one series.

    The picture grows by the height of the legend, so that the axes keep theirs however many
    series there are.
    """
    known: dict[str, Any] = {}
    for each in axes:
        for handle, label in zip(*each.get_legend_handles_labels(), strict=True):
            known.setdefault(label, handle)
    if len(known) < 2:
        return
    # A letter is about 0.07 inches wide, the sample beside it 0.5.
    entry = 0.07 * max(len(label) for label in known) + 0.5
    if len(known) > TALL * (picture.get_figwidth() // entry or 1):
        picture.set_figwidth(WIDE)
    columns = max(1, min(len(known), int(picture.get_figwidth() / entry)))
    rows = math.ceil(len(known) / columns)
    picture.set_figheight(picture.get_figheight() + ENTRY * (rows - 1))
    picture.legend(
        known.values(), known.keys(), loc="outside lower center", ncols=columns, handlelength=3
    )


def few(items: Sequence[T], value: Callable[[T], float]) -> list[T]:
    """Return the :data:`LINES` items of lowest value, in their order."""
    lowest = sorted(range(len(items)), key=lambda at: value(items[at]))[:LINES]
    return [items[at] for at in sorted(lowest)]


def left_out(count: int, quantity: str) -> str:
    """Return a sentence of a caption on the lines that a figure leaves out; "" for none."""
    if count <= 0:
        return ""
    return f" Shown are the {LINES} of lowest {quantity}; {count} more are in the data alone."


def panel_figure(
    name: str,
    title: str,
    caption: str,
    contents: Sequence[tuple[str, T]],
    draw: Callable[[Axes, T], None],
    data: Sequence[Mapping[str, Any]],
    *,
    height: float,
    across: int = ACROSS,
    what: str = "panels",
) -> list[Figure]:
    """Return a figure with a panel per content, and one legend for all; none without contents.

    Args:
        name: of its files.
        title: one line above it.
        caption: is extended by the number of panels that are left out, beyond :data:`PANELS`.
        contents: what the panels show, each with its title.
        draw: is called with axes and a content.
        data: of the figure, also of what is left out.
        height: of a panel, inches.
        across: panels in a row, at most.
        what: names what is left out.
    """
    if not contents:
        return []
    picture, axes = panels(min(len(contents), PANELS), across=across, height=height)
    for panel, (heading, content) in zip(axes, contents, strict=False):
        draw(panel, content)
        head(panel, heading)
    legend(picture, axes)
    if (more := len(contents) - PANELS) > 0:
        caption += f" {more} more {what} are in the data alone."
    return [Figure(name, title, caption, picture, data)]


def curve(
    axes: Axes, points: Iterable[Point], label: str, style: Mapping[str, Any], alpha: float = 0.15
) -> None:
    """Draw a line with a band."""
    at, middle, low, high = zip(*points, strict=True)
    axes.plot(at, middle, label=clipped(label), **style)
    axes.fill_between(at, low, high, color=style["color"], alpha=alpha, linewidth=0)


def dots(axes: Axes, points: Sequence[tuple[float, float]], marker: str, **style: Any) -> None:
    """Draw a marker at each point; nothing, and no entry of the legend, without points."""
    if points:
        axes.plot(*zip(*points, strict=True), marker, **style)


def spans(values: Sequence[float], ratio: float = DECADES) -> bool:
    """Return whether values are all positive and the largest exceeds the least by this factor."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > ratio


def log_axis(axis: Any, values: Sequence[float], ratio: float = 0.0) -> bool:
    """Make an axis logarithmic if its values span this ratio, and return whether they do.

    Its numbers are written out where it has few decades.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not spans(values, ratio):
        return False
    axis.axes.set_xscale("log") if axis.axis_name == "x" else axis.axes.set_yscale("log")
    decades = math.log10(max(values) / min(values))
    if decades <= 4:
        subs = (1, 2, 5) if decades <= 2 else (1, 3) if decades <= 3 else (1,)
        axis.set_major_locator(LogLocator(subs=subs))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    return True


def clipped(text: str, most: int = 64) -> str:
    """Return a label that fits, in one line and as it is: no dollar begins a formula."""
    return _plain(_shortened(text, most))


def head(axes: Axes, title: str) -> None:
    """Set a panel's title, in two lines where it is wider than the panel."""
    spec = axes.get_subplotspec()
    columns = spec.get_gridspec().ncols if spec is not None else 1
    # A letter of a title is about 0.08 inches wide.
    picture = axes.get_figure(root=True)
    width = int((picture.get_figwidth() if picture is not None else WIDE) / columns / 0.08)
    lines = broken(title, width)
    if len(lines) > 2:
        # Lines that are broken after a sign are not full.
        lines = broken(_shortened(title, 2 * width - 8), width)[:2]
    axes.set_title("\n".join(map(_plain, lines)))


def _shortened(text: str, most: int) -> str:
    """Return a text without its middle, because similar names often differ at their ends."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    end = most // 2
    return f"{line[: most - end - 1]}…{line[-end:]}"


def _plain(text: str) -> str:
    return text.replace("$", r"\$")


def save(figure: Figure, folder: Path) -> Path:
    """Write ``NAME.svg``, ``NAME.png`` and ``NAME.csv``, and return the path of the first.

    Call within :func:`style`, so that text is written as outlines.
    """
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    svg = folder / f"{figure.name}.svg"
    # Ids from the name and no date: the same results make the same file.
    with mpl.rc_context({"svg.hashsalt": figure.name}):
        figure.picture.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    # Both files have one layout, which takes half as long to compute as the drawing.
    figure.picture.set_layout_engine(None)
    figure.picture.savefig(folder / f"{figure.name}.png", dpi=150, metadata={"Software": None})
    write_csv(folder / f"{figure.name}.csv", figure.data)
    return svg
