"""The page of a study: everything that its template shows, in the template's words."""

from __future__ import annotations

import collections
import html
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbench import __version__
from lbench.errors import DamagedError, StoreError
from lbench.home import Home
from lbench.registry import registry
from lbench.report import citations
from lbench.report.answers import Answer
from lbench.report.figures.figure import Figure
from lbench.report.figures.searching import OBJECTIVES
from lbench.report.inline import inline
from lbench.report.lines import placed
from lbench.report.published import Published, published
from lbench.report.searches import counted, diverged, ranges, settings_of, value
from lbench.report.study_table import LIMIT, cost_tables, numbers, results_tables
from lbench.report.table import NONE, Table, percent, text
from lbench.report.verdict import Judged
from lbench.report.worth import Worth, worths
from lbench.rundir import RunDir
from lbench.store.rows import RunRow
from lbench.studies.definition import Search
from lbench.studies.results import Results, SearchResult
from lbench.studies.settings import as_flags
from lbench.studies.space import format_domain

TROUBLES = 40
"""Runs in the list of what did not finish; runs.csv has all."""
PUBLISHED = 40


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure, and the text of its SVG file."""

    figure: Figure
    svg: str


def page(
    results: Results,
    judged: Sequence[Judged],
    answered: Answer,
    drawn: Sequence[Drawn],
    left_out: Mapping[str, str],
    home: Home,
) -> str:
    """The page as HTML: one file that needs nothing else."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = Path(__file__).with_name("study.html.template").read_text(encoding="utf-8")
    template = environment.from_string(source)
    worth = worths(results)
    return template.render(
        study=results.study,
        answer=answered,
        asked=_asked(results),
        tables=results_tables(judged, LIMIT),
        costs=cost_tables(judged, LIMIT),
        published=_published(results),
        figures=[_figure(each) for each in drawn],
        left_out=left_out,
        searches=[_search(each, results, worth.get(each.point.key)) for each in results.searches],
        troubles=_troubles(results),
        missing=[p.key for p in results.missing if p.key not in results.untrainable],
        absent=results.datasets,
        data=_data(results, home),
        data_notes=_data_notes(results),
        environment=_environment(results),
        command=results.command,
        version=__version__,
        written=time.strftime("%Y-%m-%d %H:%M"),
        files=_files(drawn),
    )


def _asked(results: Results) -> list[tuple[str, str]]:
    """The terms of the study, each with its name."""
    study = results.study
    protocols = {
        "strict": "strict: a validation split chooses; the test set is read at the end",
        "paper": "paper: all training data, the last epoch; the test set is read at the end",
    }
    rows = [
        ("protocol", protocols[study.protocol]),
        ("seeds", f"{study.seeds} a cell" + (", fresh after the search" if study.search else "")),
        ("budget", _budget(results)),
    ]
    if search := study.search:
        rows.append(
            ("search", f"{_trials(search)} at each point, "
             f"{'median pruning' if search.pruning else 'no pruning'}, "
             f"minimising {', '.join(search.objectives)} under the strict protocol, "
             f"{_of(search.seeds, 'seeds')} a trial"
             + (f" of {_of(search.epochs, 'epochs')}" if search.epochs else ""))
        )  # fmt: skip
    margin = f"{study.margin:g} points, stated in advance" if study.margin is not None else NONE
    rows.append(("equal within", margin))
    rows.append(("published counterpart", study.published or NONE))
    return [(name, words) for name, words in rows if words != NONE]


def _trials(search: Search) -> str:
    if search.sampler == "grid":
        return "every combination once"
    return f"{search.trials} trials of sampler {search.sampler}"


def _of(number: int, unit: str) -> str:
    return f"{number:,} {unit if number != 1 else unit.removesuffix('s')}"


def _budget(results: Results) -> str:
    budgets = dict.fromkeys(
        " ".join(_of(n, unit) for unit, n in _task(final.cell.spec).get("budget", {}).items())
        for final in results.finals
    )
    return " or ".join(text for text in budgets if text) or NONE


def _task(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    task: Mapping[str, Any] = spec.get("task", {})
    return task


def _published(results: Results) -> dict[str, Any] | None:
    found: dict[Published, None] = {}
    for final in results.finals:
        found |= dict.fromkeys(published(final.point.rule, final.point.dataset))
    if not found:
        return None
    rows = list(found)
    columns, cells, notes = citations.table(rows[:PUBLISHED])
    right = [at for at, column in enumerate(columns) if column in citations.NUMBERS]
    return {
        "columns": columns,
        "rows": cells,
        "right": right,
        "notes": notes,
        "more": len(rows) - len(cells),
    }


def _figure(drawn: Drawn) -> dict[str, str]:
    figure = drawn.figure
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "svg": inline(drawn.svg, figure.name, html.escape(figure.title, quote=True)),
    }


def _search(search: SearchResult, results: Results, worth: Worth | None) -> dict[str, Any]:
    points = [each.point for each in results.searches]
    best = search.best
    command = ""
    if best is not None:
        command = f"lbench run {as_flags(search.point, best.params, registry())}"
    failures = [t for t in search.trials if t.state == "fail" or diverged(t)]
    return {
        "worth": worth.words if worth else "",
        "title": placed(search.point, points),
        "counts": counted(search),
        "best": best.number if best else None,
        "value": _value(search),
        "command": command,
        "indistinguishable": len(search.indistinguishable),
        "complete": sum(trial.state == "complete" for trial in search.trials),
        "settings": _settings(search),
        "front": _front(search),
        "failures": [f"trial {t.number}: {t.reason or 'no reason is known'}" for t in failures[:8]],
        "more_failures": max(0, len(failures) - 8),
    }


def _value(search: SearchResult) -> str:
    """``3.50 % validation error of 143 examples``; or of another first objective."""
    if search.best is None:
        return NONE
    first = search.objectives[0]
    if first != "val_error":
        return f"{OBJECTIVES[first]}: {value(search.best):.4g}"
    words = f"{percent(value(search.best))} % validation error"
    return f"{words} of {search.validation:,} examples" if search.validation else words


def _settings(search: SearchResult) -> Table:
    known = {each.name: each for each in ranges(search)}
    rows = []
    for name, domain in search.space.items():
        found = known.get(name)
        share = search.importances.get(name)
        rows.append(
            [name, format_domain(domain), settings_of({name: found.best}).partition("=")[2] if found
             else NONE, found.words if found else NONE,
             NONE if share is None else f"{100 * share:.0f} %"]
        )  # fmt: skip
    columns = ("setting", "searched", "best", "not told apart from the best", "importance")
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


def _troubles(results: Results) -> dict[str, Any]:
    """Every run that did not finish, with its reason."""
    found = [
        [final.point.key, str(run.seed), run.status, _why(run)]
        for final in results.finals
        for run in final.runs
        if run.status != "finished"
    ]
    found += [[key, "all", "failed", reason] for key, reason in results.untrainable.items()]
    return {"rows": found[:TROUBLES], "more": max(0, len(found) - TROUBLES)}


def _why(run: RunRow) -> str:
    """Return why a run has not finished, and the file that has its traceback."""
    traceback = RunDir(run.run_dir).traceback
    return f"{run.reason or NONE}" + (f"; traceback: {traceback}" if traceback.exists() else "")


def _data(results: Results, home: Home) -> list[list[str]]:
    """One row a dataset: title, variant, digest, test examples, reads of the test set."""
    # By the run: one that stands at several points has read its test set once.
    reads: dict[tuple[str, int], tuple[str, int]] = {}
    rows: dict[str, list[str]] = {}
    for final in results.finals:
        cell = final.cell
        for run in final.runs:
            reads[run.fingerprint, run.attempt] = cell.data_digest, run.test_reads
        rows[cell.data_digest] = [
            cell.dataset_title, cell.variant, cell.data_digest[:16],
            text(cell.test_examples) if cell.test_examples else NONE,
        ]  # fmt: skip
    for run in (run for search in results.searches for run in search.runs):
        if run.test_reads:
            task = _task(_spec(run.run_dir).get("spec", {}))
            reads[run.fingerprint, run.attempt] = task.get("digest", ""), run.test_reads
    study_reads = collections.Counter[str]()
    for digest, times in reads.values():
        study_reads[digest] += times
    home_reads = _home_reads(home)
    return [
        [*row, str(study_reads[digest]),
         str(home_reads[digest]) if digest in home_reads else NONE]
        for digest, row in rows.items()
    ]  # fmt: skip


def _data_notes(results: Results) -> list[str]:
    """Return each note on the data of the final runs once, after the name of the data."""
    specs = [
        (final.cell.dataset_title, _spec(run.run_dir))
        for final in results.finals
        for run in final.runs
    ]
    return list(
        dict.fromkeys(
            f"{title}: {note}"
            for title, spec in specs
            for note in spec.get("data", {}).get("notes", [])
        )
    )


def _spec(run_dir: Path) -> dict[str, Any]:
    """Return what was asked for in a run; nothing where its directory is gone or damaged."""
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


def _environment(results: Results) -> list[tuple[str, str]]:
    """Versions, devices and threads of all runs; several of one kind are all named."""
    found: dict[str, dict[str, None]] = {}
    for run in _runs(results):
        for name, entry in run.environment.items():
            found.setdefault(name, {})[str(entry)] = None
    return [(name.replace("_", " "), ", ".join(values)) for name, values in found.items()]


def _runs(results: Results) -> Iterable[RunRow]:
    for final in results.finals:
        yield from final.runs
    for search in results.searches:
        yield from search.runs


def _files(drawn: Sequence[Drawn]) -> list[str]:
    names = ["table.md", "table.tex", "table.csv", "table.parquet", "runs.csv", "answer.json"]
    if drawn:
        names.append(f"figures/ ({len(drawn)} figures as SVG and PNG, each with its data as CSV)")
    return names
