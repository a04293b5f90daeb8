"""All public names for the figures and analyses of plugins.

A figure is a function of a study's :class:`StudyData` and an argument that returns a list of
:class:`Figure`; an analysis is a function of :class:`StudyData` that returns an :class:`Answer`.
Entries of the hooks ``lbench_figures`` and ``lbench_analyses`` name these functions;
``docs/reports.md`` has an example.
"""

from __future__ import annotations

from lbench.output.table import percent, spread, text
from lbench.report.answers.answer import NO_AXIS, UNDECIDED, Answer, capital, joined
from lbench.report.answers.series import Series, ascending, axes, series
from lbench.report.differences import (
    Difference,
    Significance,
    adjusted,
    paired_difference,
)
from lbench.report.figures.figure import (
    COLOURS,
    FAINT,
    INK,
    LINES,
    PANELS,
    Figure,
    clipped,
    curve,
    few,
    head,
    left_out,
    legend,
    log_axis,
    look,
    panel_figure,
    panels,
)
from lbench.reporting.configurations import (
    Columns,
    Configuration,
    by_task,
    configurations,
    titles_without,
    with_unique_titles,
)
from lbench.reporting.curves import Numbers, smooth, thinned
from lbench.statistics.intervals import Summary, error_interval, interval
from lbench.studies.results import StudyData

__all__ = [
    "COLOURS",
    "FAINT",
    "INK",
    "LINES",
    "NO_AXIS",
    "PANELS",
    "UNDECIDED",
    "Answer",
    "Columns",
    "Configuration",
    "Difference",
    "Figure",
    "Numbers",
    "Series",
    "Significance",
    "StudyData",
    "Summary",
    "adjusted",
    "ascending",
    "axes",
    "by_task",
    "capital",
    "clipped",
    "configurations",
    "curve",
    "error_interval",
    "few",
    "head",
    "interval",
    "joined",
    "left_out",
    "legend",
    "log_axis",
    "look",
    "paired_difference",
    "panel_figure",
    "panels",
    "percent",
    "series",
    "smooth",
    "spread",
    "text",
    "thinned",
    "titles_without",
    "with_unique_titles",
]  # fmt: skip
