"""Figures of single results, in the style of the reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lbench.report.figures.figure import COLOURS, clipped, legend, look, panels, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from lbench.report.compare.row import Row

METRICS = {"train_loss": "training loss", "val_error": "validation error (%)"}


def curves(epochs: pd.DataFrame, title: str) -> Figure:
    """Draw training loss and validation error over epochs, with a line per seed.

    Args:
        epochs: the data frame of :func:`lbench.api.frames.epochs`.
        title: title of the figure.
    """
    from matplotlib.ticker import MaxNLocator

    metrics = [name for name in METRICS if name in epochs and epochs[name].notna().any()]
    with style():
        picture, axes = panels(len(metrics), height=3.0)
        for panel, metric in zip(axes, metrics, strict=True):
            for index, (seed, rows) in enumerate(epochs.groupby("seed")):
                line_style = {**look(index), "markersize": 3}
                panel.plot(rows["epoch"], rows[metric], label=f"seed {seed}", **line_style)
            panel.set_xlabel("epoch")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.set_ylabel(METRICS[metric])
        legend(picture, axes)
        picture.suptitle(clipped(title, 100))
    return picture


def errors(rows: Sequence[Row]) -> Figure:
    """Draw the test errors of configurations with their intervals, and a tick per seed.

    Args:
        rows: rows of a comparison; those without a finished run are left out.
    """
    finished = [row for row in rows if row.test is not None]
    with style():
        picture, (axes,) = panels(1, height=1.2 + 0.35 * max(1, len(finished)))
        for y, row in enumerate(finished):
            test = row.test
            assert test is not None
            low, high = row.sampling or (test.low, test.high)
            if low is not None and high is not None:
                axes.plot([low, high], [y, y], color=COLOURS[6], linewidth=1.6)
            axes.plot([test.mean], [y], "o", color=COLOURS[0], markersize=7)
            seed_errors = list(row.errors.values())
            axes.plot(seed_errors, [y] * len(seed_errors), "|", color=COLOURS[1], markersize=9)
        axes.set_yticks(range(len(finished)), [clipped(row.cell.cell_id) for row in finished])
        axes.set_ylim(len(finished) - 0.5, -0.5)
        axes.set_xlabel("test error (%); bars: 95 % intervals")
    return picture
