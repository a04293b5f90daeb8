"""All public names for the figures and analyses of plugins.

A figure is a function of a study's :class:`StudyResults` and an argument that returns a list of
:class:`Figure`; an analysis is a function of :class:`StudyResults` that returns an :class:`Answer`.
Entries of the hooks ``lbench_figures`` and ``lbench_analyses`` name these functions;
``docs/reports.md`` has an example.
"""

from __future__ import annotations

from lbench.output.table import percent, spread
from lbench.report.answers.answer import UNDECIDED, Answer, joined
from lbench.report.configurations import (
    Columns,
    Configuration,
    by_task,
    configurations,
    with_unique_titles,
)
from lbench.report.curves import Numbers, smooth, thinned
from lbench.report.differences import (
    Difference,
    Significance,
    adjusted,
    paired_difference,
)
from lbench.report.figures.figure import (
    COLOURS,
    FAINT,
    LINES,
    PANELS,
    Figure,
    clipped,
    head,
    legend,
    look,
    panels,
)
from lbench.statistics.intervals import Summary, interval
from lbench.studies.results import StudyResults

__all__ = [
    "COLOURS",
    "FAINT",
    "LINES",
    "PANELS",
    "UNDECIDED",
    "Answer",
    "Columns",
    "Configuration",
    "Difference",
    "Figure",
    "Numbers",
    "Significance",
    "StudyResults",
    "Summary",
    "adjusted",
    "by_task",
    "clipped",
    "configurations",
    "head",
    "interval",
    "joined",
    "legend",
    "look",
    "paired_difference",
    "panels",
    "percent",
    "smooth",
    "spread",
    "thinned",
    "with_unique_titles",
]  # fmt: skip
