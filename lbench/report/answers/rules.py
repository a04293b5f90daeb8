"""Rules beside rules: which learn, which are best, and what those without BP reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lbench.registry import registry
from lbench.report.answers.answer import UNDECIDED, Answer, capital, joined
from lbench.report.answers.overall import overall
from lbench.report.audit import found as audited
from lbench.report.compare import mean
from lbench.report.contrasts import adjusted, contrast
from lbench.report.lines import Group, Line, error_of, groups
from lbench.report.table import percent
from lbench.report.verdict import verdict
from lbench.rundir import RunDir
from lbench.studies.results import Results

SHOWN = 6


def screen(results: Results) -> Answer:
    """Which rules learn at all, the best of them, and what contradicts its claims."""
    known = [group for group in groups(results) if group.known]
    if not known:
        return Answer(f"{UNDECIDED}: no rule has a finished run.")
    sentences, details = [], []
    data: list[dict[str, Any]] = []
    for group in known:
        chance = _chance(group)
        learn = [line for line in group.known if _learns(line, chance)]
        order = sorted(learn, key=lambda line: mean(line.row.test) or 0.0)
        words = f"on {group.title} {len(learn)} of {len(group.lines)} cells learn"
        if order:
            words += ": " + joined([_short(line) for line in order], most=SHOWN)
        sentences.append(words)
        lost = [line for line in group.known if line not in learn]
        details += [
            f"No better than chance ({percent(chance)} %): {_short(line)}." for line in lost
        ]
        details += [f"{line.title}: {text}." for line in group.lines for text in _trouble(line)]
        data.append(
            {
                "where": group.title,
                "chance": chance,
                "learn": [line.title for line in order],
                "test_error": [mean(line.row.test) for line in order],
            }
        )
    return Answer(capital(". ".join(map(capital, sentences))) + ".", details, {"groups": data})


def table1(results: Results) -> Answer:
    """State the lowest error of each network, and the best rule without BP against bp itself."""
    known = [group for group in groups(results) if group.known]
    if not known:
        return Answer(f"{UNDECIDED}: no rule has a finished run.")
    reference = registry().reference("rules")
    sentences, details = [], []
    data: list[dict[str, Any]] = []
    for group in known:
        best = verdict(group).best
        sentences.append(f"on {group.title} the lowest error is that of {_listed(best)}")
        free = [line for line in group.known if audited(line.row.audit, "bp_free")]
        bp = next((line for line in group.known if line.row.cell.rule == reference), None)
        entry: dict[str, Any] = {"where": group.title, "best": [line.title for line in best]}
        if free:
            lowest = min(free, key=lambda line: mean(line.row.test) or 0.0)
            sentences[-1] += f"; lowest of the {len(free)} BP-free ones: {_short(lowest)}"
            entry["best_bp_free"] = lowest.title
            if bp is not None:
                # The lowest of many is so by luck too: adjusted for all that it was chosen from.
                margin = results.study.margin
                others = [line for line in free if line is not bp]
                tested = adjusted([contrast(line, bp, margin) for line in others])
                against = tested[others.index(lowest)]
                details.append(f"{group.title}: {against.words}.")
                entry["against_reference"] = against.as_dict()
        data.append(entry)
        details += [f"{line.title}: {text}." for line in group.lines for text in _trouble(line)]
    together, numbers = overall(known)
    sentence = ". ".join(map(capital, sentences)) + "."
    return Answer(sentence, [*together, *details], {"groups": data, "overall": numbers})


def _listed(lines: Sequence[Line]) -> str:
    first, *others = lines
    words = _short(first)
    if others:
        words += f"; not told apart from it: {joined([other.title for other in others])}"
    return words


def _short(line: Line) -> str:
    return f"{line.title} ({error_of(line)})"


def _chance(group: Group) -> float:
    """Error of a guess, percent."""
    for line in group.known:
        spec = RunDir(line.final.runs[0].run_dir).spec() or {}
        if classes := spec.get("data", {}).get("classes"):
            return 100 * (1 - 1 / int(classes))
    return 100.0


def _learns(line: Line, chance: float) -> bool:
    """Whether the upper end of what its error may be lies below chance."""
    test = line.row.test
    high = test.high if test and test.high is not None else line.sampling and line.sampling[1]
    return high is not None and high < chance


def _trouble(line: Line) -> list[str]:
    """What must be known of a cell: claims that do not hold, and seeds that did not finish."""
    said = [f"contradicted, {text}" for text in line.row.contradictions]
    return said + [
        f"seed {run.seed} {run.status}" + (f", {run.reason}" if run.reason else "")
        for run in line.row.unfinished
    ]
