"""The probe ``linear``: the error of a linear classifier of what each block passes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lbench.report.answers.answer import UNDECIDED, Answer, capital, joined
from lbench.report.answers.series import Series, ascending, axes, series
from lbench.report.compare import mean
from lbench.report.configurations import Configuration, by_task, configurations
from lbench.report.contrasts import Contrast, adjusted, contrast
from lbench.report.figures.figure import (
    PANELS,
    Figure,
    clipped,
    head,
    legend,
    log_axis,
    look,
    panels,
)
from lbench.report.table import percent, signed, text
from lbench.statistics.intervals import Summary, error_interval
from lbench.studies.results import Results

LINES = 10


def figures(results: Results, _: str = "") -> list[Figure]:
    """Draw the held-out error of a linear probe by block after training; a panel a task."""
    from matplotlib.ticker import MaxNLocator

    tasks = by_task(configurations(results, "linear"))
    if not tasks:
        return []
    shown = list(tasks.items())[:PANELS]
    picture, axes = panels(len(shown), height=3.2)
    names = list(dict.fromkeys(each.title for cells in tasks.values() for each in cells))
    data: list[dict[str, Any]] = []
    for number, (task, cells) in enumerate(tasks.items()):
        tables = {each.title: by_block(each) for each in cells}
        data += _rows(task, tables)
        if number >= len(axes):
            continue
        panel = axes[number]
        for name, table in list(tables.items())[:LINES]:
            style = look(names.index(name))
            at = [block + 1 for block in table]
            panel.plot(at, [s.mean for s in table.values()], label=clipped(name), **style)
            ends = [(s.mean if s.low is None else s.low, s.mean if s.high is None else s.high)
                    for s in table.values()]  # fmt: skip
            low, high = zip(*ends, strict=True)
            panel.fill_between(at, low, high, color=style["color"], alpha=0.12, linewidth=0)
        values = [s.mean for table in tables.values() for s in table.values()]
        if min(values) > 0 and max(values) / min(values) > 8:
            log_axis(panel.yaxis, values)
            # Intervals that reach down to 0 would stretch it without end.
            panel.set_ylim(min(values) / 2, min(100.0, max(values) * 1.5))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_xlabel("block (0: the input)")
        panel.set_ylabel("error of a linear probe (%)")
        head(panel, task)
    legend(picture, axes)
    caption = (
        "After the last epoch, on held-out examples; a ridge regression of what each block passes "
        "on. Mean over seeds with its 95 % t interval."
    )
    if any(len(cells) > LINES for cells in tasks.values()):
        caption += f" The first {LINES} cells are shown, the data have all."
    return [Figure("linear", "A linear probe of every block", caption, picture, data)]


def depth(results: Results) -> Answer:
    """State whether a rule uses depth: some deeper network is better than the shallowest."""
    names = axes(results)
    found = [ascending(each) for each in series(results, names[-1])] if names else []
    if not found:
        return Answer(f"{UNDECIDED}: no two depths of a rule have finished runs.")
    told = [_deeper(each, results.study.margin) for each in found]
    by_verdict: dict[str, list[str]] = {}
    several = len({each.where for each in found}) > 1
    for each, said, contrasts in told:
        name = each.title if several else each.name
        by_verdict.setdefault(said, []).append(name + _gain(each, contrasts))
    sentence = "; ".join(f"{said}: {joined(names)}" for said, names in by_verdict.items())
    details = [
        f"{capital(each.title)}: "
        + ", ".join(
            f"{percent(mean(line.row.test))} % at {text(value)}"
            for value, line in zip(each.values, each.lines, strict=True)
        )
        + "."
        for each, _, _ in told
    ]
    details += [f"{capital(c.words)}." for _, _, contrasts in told for c in contrasts]
    details += [_probed(each) for each in configurations(results, "linear")]
    data = [
        {
            "series": each.name,
            "where": each.where,
            "verdict": said,
            "contrasts": [c.as_dict() for c in contrasts],
        }
        for each, said, contrasts in told
    ]
    return Answer(capital(sentence) + ".", details, {"series": data})


def by_block(each: Configuration) -> dict[int, Summary]:
    """Return the error by block in the last epoch, over seeds; -1 is the network's input."""
    values: dict[int, list[float]] = {}
    for columns in each.tables.values():
        last = max(columns["epoch"])
        for epoch, block, error in zip(
            columns["epoch"], columns["block"], columns["error"], strict=True
        ):
            if epoch == last and error is not None:
                values.setdefault(block, []).append(error)
    # Neither the record nor the probe says how many examples were held out.
    found = {block: error_interval(values[block], None) for block in sorted(values)}
    return {block: summary for block, summary in found.items() if summary is not None}


def _rows(task: str, tables: dict[str, dict[int, Summary]]) -> Sequence[dict[str, Any]]:
    return [
        {
            "panel": task,
            "series": name,
            "block": block + 1,
            "error": summary.mean,
            "low": summary.low,
            "high": summary.high,
            "seeds": summary.n,
        }
        for name, table in tables.items()
        for block, summary in table.items()
    ]


def _gain(each: Series, contrasts: Sequence[Contrast]) -> str:
    """Return the largest gain that was told apart, with its interval, as text."""
    lower = [c for c in contrasts if c.verdict == "lower" and c.points is not None]
    if not lower:
        return ""
    best = min(lower, key=lambda c: c.points.mean if c.points else 0.0)
    at = each.values[1 + list(contrasts).index(best)]
    points = best.points and signed(best.points.mean, best.points.low, best.points.high)
    return f" ({points} points from {text(each.values[0])} to {text(at)})"


def _probed(each: Configuration) -> str:
    """Return a sentence on the block at which the classifier errs least."""
    errors = by_block(each)
    last = max(errors)
    best = min(errors, key=lambda block: errors[block].mean)
    place = "the input" if best < 0 else f"block {best + 1} of {last + 1}"
    words = f"{each.line.whole} on {each.setup}: a linear probe errs least at {place}, "
    return (
        words + f"{percent(errors[best].mean)} %, and at the last {percent(errors[last].mean)} %."
    )


def _deeper(each: Series, margin: float | None) -> tuple[Series, str, list[Contrast]]:
    """Return the verdict on larger values against the smallest that has finished runs."""
    base, *others = each.lines
    contrasts = adjusted([contrast(line, base, margin) for line in others])
    verdicts = {c.verdict for c in contrasts}
    if "lower" in verdicts:
        said = f"a larger {each.axis} gives a lower error"
    elif verdicts <= {"higher"}:
        said = f"every larger {each.axis} gives a higher error"
    elif verdicts <= {"equal", "higher"}:
        said = f"a larger {each.axis} gives no lower error"
    else:
        said = f"whether {each.axis} is used is undecided"
    if each.smaller:
        said += f", counted from {each.at(base)}, for no run has finished at "
        said += joined([text(value) for value in each.smaller])
    return each, said, contrasts
