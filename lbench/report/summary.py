"""The table that ``lbench run`` prints of a configuration."""

from __future__ import annotations

from typing import Any

from lbench.audit_pages.words import lines
from lbench.output.table import NONE, Table, count
from lbench.per_block import row_text
from lbench.published.citations import print_published
from lbench.published.numbers import Published
from lbench.quantities import QUANTITIES
from lbench.report.compare.row import mean, sampling
from lbench.report.quantity_text import BUSY_NOTE, busy, quantity_text
from lbench.report.render import SAMPLING, error
from lbench.statistics.intervals import error_interval, interval_of_known

TITLED = [quantity for quantity in QUANTITIES if quantity.title]


def run_table(result: dict[str, Any]) -> Table:
    """Return the table of a configuration: errors, parameters, costs, audit and unfinished seeds.

    With one seed, the interval of the test error is that of the test set's sampling.

    Args:
        result: the object that ``lbench run --json`` prints.
    """
    runs = result["runs"]
    finished = [run for run in runs if run["status"] == "finished"]
    examples = result.get("test_examples")
    errors = {run["seed"]: run["test_error"] for run in finished if run["test_error"] is not None}
    of_test_set = sampling(errors, examples)
    values = _over_seeds(finished)
    shown = [q for q in TITLED if not (q.optional and values[q.name] is None)]
    rows = [
        ["test error %", error(error_interval(errors.values(), examples), of_test_set)],
        *([q.row_title, quantity_text(q, values)] for q in reversed(shown) if q.unit == "%"),
        ["parameters", _parameters(result.get("params") or {})],
        *([f"{name} per block", row_text(row)] for name, row in _per_block(result).items()),
        *([q.row_title, quantity_text(q, values)] for q in shown if q.unit != "%"),
    ]
    contradictions = result.get("contradictions") or []
    said = lines(result.get("audit"), contradictions)
    red = [*range(len(rows), len(rows) + len(contradictions))]
    rows += [["audit" if at == 0 else "", line] for at, line in enumerate(said)]
    rows.append(["audited steps", _audited(finished)])
    rows.append(["seeds finished", f"{len(finished)} of {len(runs)}{_cached(finished)}"])
    if len(finished) < len(runs):
        rows += [[f"seed {run['seed']}", run["status"]] for run in runs]
    title = f"{result['cell']}\n{_where(result)}"
    marks = {SAMPLING: of_test_set is not None, BUSY_NOTE: busy(values["core_share"])}
    notes = [note for note, marked in marks.items() if marked]
    return Table(title, ["", _mean_of(finished)], rows, red=red, notes=notes)


def render_run(result: dict[str, Any]) -> None:
    """Print the table of a configuration and the published numbers on standard output."""
    run_table(result).print()
    print_published([Published(**row) for row in result.get("published") or []], "\n")


def _over_seeds(finished: list[dict[str, Any]]) -> dict[str, float | None]:
    """Return the means of all quantities with a title, and the least share of the cores."""
    shares = (run.get("core_share") for run in finished)
    return {
        **{q.name: mean(interval_of_known(q.of(run) for run in finished)) for q in TITLED},
        "core_share": min((share for share in shares if share is not None), default=None),
    }


def _per_block(result: dict[str, Any]) -> dict[str, list[float]]:
    """Return the rule's numbers per block by name; empty for a result of an older lbench."""
    return result.get("per_block") or {}


def _where(result: dict[str, Any]) -> str:
    blocks = f" in {result['blocks']} blocks" if result.get("blocks") else ""
    return f"{result['network']}{blocks} on {result['title']}, protocol {result['protocol']}"


def _mean_of(finished: list[dict[str, Any]]) -> str:
    seeds = [run["seed"] for run in finished]
    return f"mean of {len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}" if seeds else ""


def _audited(runs: list[dict[str, Any]]) -> str:
    """Return the number of audited steps of each run, ``14 of 4,220``."""
    looked = sorted({len(run.get("glances") or []) for run in runs})
    steps = {run.get("steps") for run in runs}
    if len(steps) != 1 or None in steps:
        return NONE
    return f"{' to '.join(map(count, (looked[0], looked[-1])[: len(looked)]))} of {count(*steps)}"


def _cached(finished: list[dict[str, Any]]) -> str:
    cached = sum(bool(run.get("cached")) for run in finished)
    return f" ({cached} trained earlier)" if cached else ""


def _parameters(params: dict[str, int | None]) -> str:
    words = {"inf": "for prediction", "aux": "auxiliary", "fix": "fixed"}
    parts = [f"{count(params[name])} {word}" for name, word in words.items() if params.get(name)]
    return ", ".join(parts) or NONE
