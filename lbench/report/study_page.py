"""The page of a study: all that its template shows."""

from __future__ import annotations

import collections
import html
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lbench import __version__
from lbench.errors import DamagedError, StoreError
from lbench.home import Home
from lbench.output.table import NONE, Table, percent, text
from lbench.published import citations
from lbench.published.numbers import published
from lbench.registry import registry
from lbench.report.answers.answer import Answer
from lbench.report.figures.figure import INK, PAPER, Figure
from lbench.report.figures.searching import OBJECTIVES
from lbench.report.lines import placed
from lbench.report.study_table import LIMIT, cost_tables, numbers, results_tables
from lbench.report.verdict import Judged
from lbench.report.worth import Worth, worths
from lbench.rundir import RunDir
from lbench.store.rows import RunRow
from lbench.studies.definition import Search
from lbench.studies.results import SearchResult, StudyData
from lbench.studies.search_summary import counted, diverged, ranges, settings_of, value
from lbench.studies.settings import as_flags
from lbench.studies.space import format_domain

MOST = 40
"""Rows of the tables of unfinished runs and of published numbers."""
FAILURES = 8
"""Failed trials that the page lists per search."""
PROTOCOLS = {
    "strict": "strict: a validation split chooses; the test set is read at the end",
    "paper": "paper: all training data, the last epoch; the test set is read at the end",
}


Drawn = tuple[Figure, str]
"""A figure, and its picture as an element of a page."""


def page(
    results: StudyData,
    judged: Sequence[Judged],
    answered: Answer,
    drawn: Sequence[Drawn],
    left_out: Mapping[str, str],
    home: Home,
) -> str:
    """Return the page as HTML: one file that needs nothing else."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = Path(__file__).with_name("study.html.template").read_text(encoding="utf-8")
    worth = worths(results)
    return environment.from_string(source).render(
        study=results.study,
        answer=answered,
        terms=_terms(results),
        tables=results_tables(judged, LIMIT),
        costs=cost_tables(judged, LIMIT),
        published=_published(results),
        figures=drawn,
        left_out=left_out,
        searches=[_search(each, results, worth.get(each.point.key)) for each in results.searches],
        unfinished=_unfinished(results),
        missing=[p.key for p in results.missing if p.key not in results.untrainable],
        absent=results.datasets,
        data=_data(results, home),
        environment=_environment(results),
        command=results.command,
        version=__version__,
        written=time.strftime("%Y-%m-%d %H:%M"),
    )


def inline(svg: str, figure: Figure) -> str:
    """Return the ``<svg>`` element of a file that matplotlib wrote, in the page's colours.

    The figure's name begins every id, because a page has several figures.
    """
    text = svg[svg.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # In HTML the element needs no namespaces, which look like addresses.
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="([^"]+)"', rf'id="{figure.name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{figure.name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{figure.name}-\1)", text)
    text = text.replace(INK, "currentColor").replace(PAPER, "var(--paper)")
    # As wide as drawn, and narrower where the page is.
    width = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', text)
    if width:
        text = text.replace(width[0], f'style="width:{width[1]}pt"', 1)
    label = html.escape(figure.title, quote=True)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def _terms(results: StudyData) -> list[tuple[str, str]]:
    """Return the terms of the study, each with its name."""
    study = results.study
    terms = {
        "protocol": PROTOCOLS[study.protocol],
        "seeds": f"{study.seeds} per configuration"
        + (", fresh after the search" if study.search else ""),
        "budget": _budget(results),
    }
    if study.search:
        terms["search"] = _search_terms(study.search)
    if study.margin is not None:
        terms["equal within"] = f"{study.margin:g} points, stated in advance"
    terms["published counterpart"] = study.published
    return [(name, words) for name, words in terms.items() if words]


def _search_terms(search: Search) -> str:
    trials = f"{search.trials} trials of sampler {search.sampler}"
    if search.sampler == "grid":
        trials = "every combination once"
    words = (
        f"{trials} at each point, {'median pruning' if search.pruning else 'no pruning'}, "
        f"minimising {', '.join(search.objectives)} under the strict protocol, "
        f"{_count(search.seeds, 'seeds')} per trial"
    )
    return words + (f" of {_count(search.epochs, 'epochs')}" if search.epochs else "")


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit if number != 1 else unit.removesuffix('s')}"


def _budget(results: StudyData) -> str:
    tasks = [final.cell.spec.get("task", {}) for final in results.finals]
    budgets = dict.fromkeys(
        " ".join(_count(n, unit) for unit, n in task.get("budget", {}).items()) for task in tasks
    )
    return " or ".join(budget for budget in budgets if budget)


def _published(results: StudyData) -> Table | None:
    pairs = dict.fromkeys((final.point.rule, final.point.dataset) for final in results.finals)
    rows = list(dict.fromkeys(row for pair in pairs for row in published(*pair)))
    if not rows:
        return None
    more = f"and {len(rows) - MOST} more, see lbench rules NAME."
    return _first(citations.table(rows[:MOST]), len(rows), more)


def _first(table: Table, count: int, more: str) -> Table:
    """Return a table of the first rows, with a note where there are more of them."""
    notes = [more, *table.notes] if count > MOST else table.notes
    return Table(table.title, table.columns, table.rows[:MOST], table.right, notes=notes)


def _search(search: SearchResult, results: StudyData, worth: Worth | None) -> dict[str, Any]:
    best = search.best
    command = ""
    if best is not None:
        command = f"lbench run {as_flags(search.point, best.params, registry())}"
    failures = [t for t in search.trials if t.state == "fail" or diverged(t)]
    return {
        "worth": worth.words if worth else "",
        "title": placed(search.point, [each.point for each in results.searches]),
        "counts": counted(search),
        "best": best.number if best else None,
        "value": _value(search),
        "command": command,
        "indistinguishable": len(search.indistinguishable),
        "complete": sum(trial.state == "complete" for trial in search.trials),
        "settings": _settings(search),
        "front": _front(search),
        "failures": [
            f"trial {t.number}: {t.reason or 'no reason is known'}" for t in failures[:FAILURES]
        ],
        "more_failures": max(0, len(failures) - FAILURES),
    }


def _value(search: SearchResult) -> str:
    """Return the best value: ``3.50 % validation error of 143 examples``."""
    if search.best is None:
        return NONE
    first = search.objectives[0]
    if first != "val_error":
        return f"{OBJECTIVES[first]}: {value(search.best):.4g}"
    words = f"{percent(value(search.best))} % validation error"
    return f"{words} of {search.validation:,} examples" if search.validation else words


def _settings(search: SearchResult) -> Table:
    known = {entry.name: entry for entry in ranges(search)}
    rows = []
    for name, domain in search.space.items():
        entry, share = known.get(name), search.importances.get(name)
        rows.append(
            [
                name,
                format_domain(domain),
                settings_of({name: entry.best}).partition("=")[2] if entry else NONE,
                entry.words if entry else NONE,
                NONE if share is None else f"{100 * share:.0f} %",
            ]
        )
    columns = ("setting", "searched", "best", "indistinguishable from the best", "importance")
    return Table("", columns, rows, numbers(columns))


def _front(search: SearchResult) -> list[str]:
    if len(search.objectives) < 2:
        return []
    return [
        f"trial {trial.number}: "
        + ", ".join(
            f"{name} {number:.4g}"
            for name, number in zip(search.objectives, trial.values or (), strict=False)
        )
        + f" with {settings_of(trial.params)}"
        for trial in search.front
    ]


def _unfinished(results: StudyData) -> Table:
    """Return a row per run that did not finish, with its reason."""
    rows = [
        [final.point.key, str(run.seed), run.status, _reason(run)]
        for final in results.finals
        for run in final.runs
        if run.status != "finished"
    ]
    rows += [[key, "all", "failed", reason] for key, reason in results.untrainable.items()]
    table = Table("", ["configuration", "seed", "status", "reason"], rows, [1])
    return _first(table, len(rows), f"and {len(rows) - MOST} more, see runs.csv.")


def _reason(run: RunRow) -> str:
    """Return why a run has not finished, and the file that has its traceback."""
    traceback = RunDir(run.run_dir).traceback
    return f"{run.reason or NONE}" + (f"; traceback: {traceback}" if traceback.exists() else "")


def _data(results: StudyData, home: Home) -> Table:
    """Return a row per dataset: title, variant, digest, test examples, reads of the test set."""
    # By run: one that belongs to several points has read its test set once.
    reads: dict[tuple[str, int], tuple[str, int]] = {}
    rows: dict[str, list[str]] = {}
    notes: dict[str, None] = {}
    for final in results.finals:
        cell = final.cell
        for run in final.runs:
            reads[run.fingerprint, run.attempt] = cell.data_digest, run.test_reads
            said = _spec(run.run_dir).get("data", {}).get("notes", [])
            notes |= dict.fromkeys(f"{cell.dataset_title}: {note}" for note in said)
        examples = text(cell.test_examples) if cell.test_examples else NONE
        about = [cell.dataset_title, cell.variant, cell.data_digest[:16], examples]
        rows[cell.data_digest] = about
    for run in (run for search in results.searches for run in search.runs):
        if run.test_reads:
            task = _spec(run.run_dir).get("spec", {}).get("task", {})
            reads[run.fingerprint, run.attempt] = task.get("digest", ""), run.test_reads
    of_study = collections.Counter[str]()
    for digest, times in reads.values():
        of_study[digest] += times
    of_home = _home_reads(home)
    columns = (
        "data", "variant", "digest", "test examples", "test set read by this study",
        "read by all runs of the home",
    )  # fmt: skip
    lines = [
        [*row, str(of_study[digest]), str(of_home.get(digest, NONE))]
        for digest, row in rows.items()
    ]
    return Table("", columns, lines, [3, 4, 5], notes=list(notes))


def _spec(run_dir: Path) -> dict[str, Any]:
    """Return the specification of a run; an empty one where its directory is gone or damaged."""
    try:
        return RunDir(run_dir).spec() or {}
    except DamagedError:
        return {}


def _home_reads(home: Home) -> dict[str, int]:
    if not home.has_store():
        return {}
    from lbench.store.record import Record

    try:
        with Record.open(home) as record:
            return record.test_reads()
    except StoreError:
        return {}


def _environment(results: StudyData) -> list[tuple[str, str]]:
    """Return versions, devices and threads of all runs."""
    values: dict[str, dict[str, None]] = {}
    searched = [run for search in results.searches for run in search.runs]
    for run in [*(run for final in results.finals for run in final.runs), *searched]:
        for name, entry in run.environment.items():
            values.setdefault(name, {})[str(entry)] = None
    return [(name.replace("_", " "), ", ".join(entries)) for name, entries in values.items()]
