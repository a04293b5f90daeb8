"""How the order of rules changes with the task: with depth, with labels, with everything."""

from __future__ import annotations

from lbench.report.answers.answer import UNDECIDED, Answer, capital, joined
from lbench.report.answers.best import error_of
from lbench.report.answers.series import Series, axes, series
from lbench.report.compare import mean
from lbench.report.contrasts import Contrast, adjusted, contrast
from lbench.report.lines import groups
from lbench.report.table import percent, text
from lbench.report.verdict import verdict
from lbench.study.results import Results


def depth(results: Results) -> Answer:
    """Whether a rule uses depth: some deeper network is better than the shallowest."""
    names = axes(results)
    found = series(results, names[-1]) if names else []
    if not found:
        return Answer(f"{UNDECIDED}: no two depths of a rule have finished runs.")
    told = [_deeper(each, results.study.margin) for each in found]
    by_verdict: dict[str, list[str]] = {}
    for each, verdict_, _ in told:
        by_verdict.setdefault(verdict_, []).append(each.name)
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


def samples(results: Results) -> Answer:
    """The best set at each size of the task, and whether it changes."""
    known = [group for group in groups(results) if len(group.known) > 1]
    if not known:
        return Answer(f"{UNDECIDED}: no task has two cells with finished runs.")
    winners = [(group, verdict(group).best) for group in known]
    by_set: dict[str, list[str]] = {}
    for group, best in winners:
        words = joined(list(dict.fromkeys(line.title for line in best)))
        by_set.setdefault(words, []).append(group.told or group.where)
    if len(by_set) == 1:
        (words,) = by_set
        sentence = f"In all {len(known)} tasks the best set is the same: {words}"
    else:
        parts = [f"{words} at {joined(tasks)}" for words, tasks in by_set.items()]
        sentence = "The best set changes with the task: " + "; ".join(parts)
    details = [
        f"{group.title}: " + "; ".join(f"{line.title} {error_of(line)}" for line in best) + "."
        for group, best in winners
    ]
    data = [
        {"where": group.title, "best": [line.title for line in best]} for group, best in winners
    ]
    return Answer(sentence + ".", details, {"tasks": data})


def _deeper(each: Series, margin: float | None) -> tuple[Series, str, list[Contrast]]:
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
    return each, said, contrasts
