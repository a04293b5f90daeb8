"""Rules beside rules: which learn, which are best, also without BP, and over several tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lbench.audit_pages.words import claim_value
from lbench.output.table import percent
from lbench.registry import registry
from lbench.report.answers.answer import UNDECIDED, Answer, joined, sentences
from lbench.report.answers.best import lowest
from lbench.report.compare.row import mean
from lbench.report.lines import Group, Line, groups
from lbench.report.verdict import differences, verdict
from lbench.rundir import RunDir
from lbench.statistics.aggregate import Aggregate, interquartile_mean, probability_of_improvement
from lbench.studies.results import StudyData
from lbench.studies.settings import EQUAL

SHOWN = 6
NOTHING = Answer(f"{UNDECIDED}: no rule has a finished run.")


def screen(results: StudyData) -> Answer:
    """State which rules learn at all, the best of them, and which contradict their claims."""
    known = [group for group in groups(results) if group.known]
    if not known:
        return NOTHING
    texts, details = [], []
    data: list[dict[str, Any]] = []
    for group in known:
        chance = _chance(group)
        learn = sorted(
            (line for line in group.known if _learns(line, chance)), key=lambda line: line.error
        )
        words = f"on {group.title} {len(learn)} of {len(group.lines)} configurations learn"
        if learn:
            words += ": " + joined([lowest([line]) for line in learn], most=SHOWN)
        texts.append(words)
        lost = [line for line in group.known if line not in learn]
        details += [
            f"No better than chance ({percent(chance)} %): {lowest([line])}." for line in lost
        ]
        details += _troubles(group)
        data.append(
            {
                "where": group.title,
                "chance": chance,
                "learn": [line.title for line in learn],
                "test_error": [mean(line.row.test) for line in learn],
            }
        )
    return Answer(" ".join(sentences(texts)), details, {"groups": data})


def table1(results: StudyData) -> Answer:
    """State the lowest error of each network, and the best rule without BP against bp itself."""
    known = [group for group in groups(results) if group.known]
    if not known:
        return NOTHING
    texts, details = [], []
    data: list[dict[str, Any]] = []
    for group in known:
        best = verdict(group.lines).best
        text = f"on {group.title} the lowest error is that of {lowest(list(best))}"
        entry: dict[str, Any] = {"where": group.title, "best": [line.title for line in best]}
        free = [line for line in group.known if claim_value(line.row.audit, "bp_free")]
        if free:
            first = min(free, key=lambda line: line.error)
            text += f"; lowest of the {len(free)} BP-free ones: {lowest([first])}"
            entry["best_bp_free"] = first.title
            words, against = _against_reference(group, free, first, results.study.margin)
            details += words
            entry |= against
        texts.append(text)
        data.append(entry)
        details += _troubles(group)
    together, numbers = overall(known)
    content = {"groups": data, "overall": numbers}
    return Answer(" ".join(sentences(texts)), [*together, *details], content)


def _against_reference(
    group: Group, free: list[Line], first: Line, margin: float | None
) -> tuple[list[str], dict[str, Any]]:
    """Return the best rule without BP against the reference, in words and numbers."""
    reference = registry().reference("rules")
    bp = next((line for line in group.known if line.row.cell.rule == reference), None)
    if bp is None:
        return [], {}
    # The lowest of many is so by luck too: p is adjusted for all that it was chosen from.
    others = [line for line in free if line is not bp]
    against = differences(others, bp, margin)[others.index(first)]
    return [f"{group.title}: {against.words}."], {"against_reference": against.as_dict()}


def _chance(group: Group) -> float:
    """Return the error of a guess, percent."""
    for line in group.known:
        spec = RunDir(line.final.runs[0].run_dir).spec() or {}
        if classes := spec.get("data", {}).get("classes"):
            return 100 * (1 - 1 / int(classes))
    return 100.0


def _learns(line: Line, chance: float) -> bool:
    """Return whether the upper end of the interval of the error is below chance."""
    test = line.row.test
    high = test.high if test and test.high is not None else line.sampling and line.sampling[1]
    return high is not None and high < chance


def _troubles(group: Group) -> list[str]:
    """Return contradicted claims, and seeds that did not finish, as sentences."""
    texts = []
    for line in group.lines:
        texts += [f"{line.title}: contradicted, {text}." for text in line.row.contradictions]
        for run in line.row.unfinished:
            reason = f", {run.reason}" if run.reason else ""
            texts.append(f"{line.title}: seed {run.seed} {run.status}{reason}.")
    return texts


def overall(groups: Sequence[Group]) -> tuple[list[str], list[dict[str, Any]]]:
    """Return words and numbers on each rule that every task has; none for fewer than two tasks.

    Equal epochs and equal operations are two questions about the same tasks, which are answered
    separately.
    """
    details: list[str] = []
    data: list[dict[str, Any]] = []
    reference = registry().reference("rules")
    known = [group for group in groups if _has_error(group, reference)]
    for equal in dict.fromkeys(group.task.get(EQUAL) for group in known):
        tasks = [group for group in known if group.task.get(EQUAL) == equal]
        if len(tasks) < 2:
            continue
        what = f"{len(tasks)} tasks" + (f" at equal {equal}" if equal else "")
        control = _errors(tasks, reference)
        for name in dict.fromkeys(line.name for group in tasks for line in group.known):
            errors = _errors(tasks, name)
            if name == reference or len(errors) < len(tasks):
                continue
            middle = interquartile_mean(errors, over=control)
            wins = probability_of_improvement(errors, control)
            details.append(
                f"{name} over {what}: interquartile mean of its error over "
                f"{reference}'s {_words(middle)}; a run of it is better than one of {reference} "
                f"with probability {_words(wins)}."
            )
            data.append(
                {
                    "equal": equal,
                    "rule": name,
                    "interquartile_mean": middle.as_dict(),
                    "better_than_reference": wins.as_dict(),
                }
            )
    return details, data


def _has_error(group: Group, reference: str) -> bool:
    """Return whether the reference rule has an error in the group by which others are divided."""
    line = next((line for line in group.known if line.name == reference), None)
    return line is not None and bool(mean(line.row.test))


def _errors(groups: Sequence[Group], name: str) -> Mapping[str, list[float]]:
    """Return a rule's errors by group, in the order of the seeds, where its error is lowest."""
    found: dict[str, list[float]] = {}
    for group in groups:
        lines: list[Line] = [line for line in group.known if line.name == name]
        if lines:
            lowest = min(lines, key=lambda line: line.error)
            found[group.title] = [error for _, error in sorted(lowest.row.errors.items())]
    return found


def _words(number: Aggregate) -> str:
    if number.low is None or number.high is None:
        return f"{number.value:.2f}"
    words = f"{number.value:.2f} [{number.low:.2f}, {number.high:.2f}]"
    return words if number.holds else f"{words} (too few seeds for the interval to hold)"
