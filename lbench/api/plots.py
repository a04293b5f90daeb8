"""Figures of single results, in the style of the reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lbench.report.figures.figure import clipped, legend, look, panels, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from lbench.report.compare import Row

METRICS = {"train_loss": "training loss", "val_error": "validation error (%)"}


def curves(epochs: pd.DataFrame, title: str) -> Figure:
    """Draw training loss and validation error over epochs, a line per seed.

    Args:
        epochs: as of :func:`lbench.api.frames.epochs`.
        title: of the figure.
    """
    metrics = [name for name in METRICS if name in epochs and epochs[name].notna().any()]
    with style():
        picture, axes = panels(len(metrics), height=3.0)
        for panel, metric in zip(axes, metrics, strict=True):
            for at, (seed, rows) in enumerate(epochs.groupby("seed")):
                shown = {**look(at), "markersize": 3}
                panel.plot(rows["epoch"], rows[metric], label=f"seed {seed}", **shown)
            panel.set_xlabel("epoch")
            panel.set_ylabel(METRICS[metric])
        legend(picture, axes)
        picture.suptitle(clipped(title, 100))
    return picture


def errors(rows: Sequence[Row]) -> Figure:
    """Draw the test error of configurations with its interval, and a dot per seed.

    Args:
        rows: of a comparison; those without a finished run are left out.
    """
    known = [row for row in rows if row.test is not None]
    with style():
        picture, (axes,) = panels(1, height=1.2 + 0.35 * max(1, len(known)))
        for at, row in enumerate(known):
            test = row.test
            assert test is not None
            low, high = row.sampling or (test.low, test.high)
            if low is not None and high is not None:
                axes.plot([low, high], [at, at], color="#6E6E6E", linewidth=1.6)
            axes.plot([test.mean], [at], "o", color="#0072B2", markersize=7)
            seeds = list(row.errors.values())
            axes.plot(seeds, [at] * len(seeds), "|", color="#D55E00", markersize=9)
        axes.set_yticks(range(len(known)), [clipped(row.cell.cell_id) for row in known])
        axes.invert_yaxis()
        axes.set_xlabel("test error (%); bars: 95 % intervals")
    return picture
