"""The probe ``linear``: the error of a linear classifier of the activations of each block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lbench.reporting import (
    NO_AXIS,
    Answer,
    Configuration,
    Difference,
    Figure,
    Series,
    StudyData,
    Summary,
    ascending,
    axes,
    by_task,
    capital,
    configurations,
    curve,
    error_interval,
    joined,
    log_axis,
    look,
    panel_figure,
    percent,
    series,
    text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = 10
Blocks = dict[int, Summary]


def figures(results: StudyData, _: str = "") -> list[Figure]:
    """Draw the held-out error of a linear probe by block after training; a panel per task."""
    tables = {
        task: {entry.title: by_block(entry) for entry in listed}
        for task, listed in by_task(configurations(results, "linear")).items()
    }
    names = list(dict.fromkeys(name for listed in tables.values() for name in listed))
    data = [
        {"panel": task, "series": name, "block": block + 1, "error": summary.mean,
         "low": summary.low, "high": summary.high, "seeds": summary.n}
        for task, listed in tables.items()
        for name, table in listed.items()
        for block, summary in table.items()
    ]  # fmt: skip

    def draw(panel: Axes, listed: dict[str, Blocks]) -> None:
        _panel(panel, listed, names)

    caption = (
        "After the last epoch, on held-out examples; a ridge regression of the activations of each "
        "block. Mean over seeds with its 95 % t interval."
    )
    if any(len(listed) > LINES for listed in tables.values()):
        caption += f" The first {LINES} configurations are shown, the data have all."
    title = "A linear probe of every block"
    contents = list(tables.items())
    return panel_figure("linear", title, caption, contents, draw, data, height=3.2)


def depth(results: StudyData) -> Answer:
    """State whether a rule uses depth: some deeper network is better than the shallowest."""
    names = axes(results)
    listed = [ascending(entry) for entry in series(results, names[-1])] if names else []
    if not listed:
        return Answer(NO_AXIS)
    verdicts = [_deeper(entry, results.margin) for entry in listed]
    by_verdict: dict[str, list[str]] = {}
    several = len({entry.where for entry in listed}) > 1
    for entry, (said, found) in zip(listed, verdicts, strict=True):
        name = entry.title if several else entry.name
        by_verdict.setdefault(said, []).append(name + _gain(entry, found))
    sentence = "; ".join(f"{said}: {joined(rules)}" for said, rules in by_verdict.items())
    details = [f"{capital(entry.title)}: {_errors(entry)}." for entry in listed]
    details += [f"{capital(d.words)}." for _, found in verdicts for d in found]
    details += [_probed(entry) for entry in configurations(results, "linear")]
    data = [
        {
            "series": entry.name,
            "where": entry.where,
            "verdict": said,
            "differences": [difference.as_dict() for difference in found],
        }
        for entry, (said, found) in zip(listed, verdicts, strict=True)
    ]
    return Answer(capital(sentence) + ".", details, {"series": data})


def by_block(entry: Configuration) -> Blocks:
    """Return the error by block in the last epoch, over seeds; -1 is the network's input."""
    values: dict[int, list[float]] = {}
    for columns in entry.tables.values():
        last = max(columns["epoch"])
        for epoch, block, error in zip(
            columns["epoch"], columns["block"], columns["error"], strict=True
        ):
            if epoch == last and error is not None:
                values.setdefault(block, []).append(error)
    # Neither the record nor the probe says how many examples were held out.
    found = {block: error_interval(values[block], None) for block in sorted(values)}
    return {block: summary for block, summary in found.items() if summary is not None}


def _panel(panel: Axes, tables: dict[str, Blocks], names: Sequence[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    for name, table in list(tables.items())[:LINES]:
        points = [
            (
                block + 1,
                s.mean,
                s.mean if s.low is None else s.low,
                s.mean if s.high is None else s.high,
            )
            for block, s in table.items()
        ]
        curve(panel, points, name, look(names.index(name)), alpha=0.12)
    values = [s.mean for table in tables.values() for s in table.values()]
    if log_axis(panel.yaxis, values, 8):
        # Intervals that include 0 would stretch the axis without end.
        panel.set_ylim(min(values) / 2, min(100.0, max(values) * 1.5))
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("block (0: the input)")
    panel.set_ylabel("error of a linear probe (%)")


def _errors(entry: Series) -> str:
    return ", ".join(
        f"{percent(error)} % at {text(value)}"
        for value, error in zip(entry.values, entry.test_errors, strict=True)
    )


def _gain(entry: Series, found: Sequence[Difference]) -> str:
    """Return the largest significant gain with its interval as text; "" for none."""
    lower = [d for d in found if d.verdict == "lower" and d.points is not None]
    if not lower:
        return ""
    best = min(lower, key=lambda d: d.points.mean if d.points else 0.0)
    at = entry.values[1 + list(found).index(best)]
    return f" ({best.text} points from {text(entry.values[0])} to {text(at)})"


def _probed(entry: Configuration) -> str:
    """Return a sentence on the block with the lowest error of the classifier."""
    errors = by_block(entry)
    last = max(errors)
    best = min(errors, key=lambda block: errors[block].mean)
    block = "the input" if best < 0 else f"block {best + 1} of {last + 1}"
    words = f"{entry.full_title} on {entry.setup}: a linear probe has its lowest error at {block}, "
    return f"{words}{percent(errors[best].mean)} %, and {percent(errors[last].mean)} % at the last."


def _deeper(entry: Series, margin: float | None) -> tuple[str, list[Difference]]:
    """Return the verdict on larger values against the smallest that has finished runs."""
    found = entry.differences(margin)
    verdicts = {difference.verdict for difference in found}
    if "lower" in verdicts:
        said = f"a larger {entry.axis} gives a lower error"
    elif verdicts <= {"higher"}:
        said = f"every larger {entry.axis} gives a higher error"
    elif verdicts <= {"equal", "higher"}:
        said = f"a larger {entry.axis} gives no lower error"
    else:
        said = f"whether {entry.axis} is used is undecided"
    if entry.smaller:
        said += f", counted from {text(entry.values[0])}, because no run has finished at "
        said += joined([text(value) for value in entry.smaller])
    return said, found
