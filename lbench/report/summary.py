"""What ``lbench run`` says of a cell when it is done: a small table, and metrics for MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lbench.report.audit import lines
from lbench.report.citations import print_published
from lbench.report.compare import mean
from lbench.report.published import Published
from lbench.report.render import ELSEWHERE, SAMPLING, error
from lbench.report.step_time import BUSY_NOTE, busy, step_time
from lbench.report.table import NONE, Table, count, mega, percent, print_notes, print_table
from lbench.statistics.intervals import Summary, binomial, error_interval, interval_of_known
from lbench.store.rows import CellRow, RunRow


def run_table(result: dict[str, Any]) -> Table:
    """Return the JSON object of ``lbench run --json`` as a table for people.

    Test error with its interval (with one seed that of the test set's sampling, marked as
    such), validation error, parameters, times, audit, and each seed that has not finished.
    """
    runs = result["runs"]
    finished = [run for run in runs if run["status"] == "finished"]
    test = _summary(result.get("test_error"))
    sampling = None
    if test is not None and test.n == 1 and result.get("test_examples"):
        sampling = binomial(test.mean, result["test_examples"])
    shares = [run["core_share"] for run in finished if run.get("core_share") is not None]
    share = min(shares, default=None)
    rows = [
        ["test error %", error(test, sampling)],
        ["at best validation %", percent(_mean(finished, "test_error_at_best_val"))],
        ["validation error %", percent(_mean(finished, "val_error"))],
        ["train error %", percent(_mean(finished, "train_error"))],
        ["parameters", _parameters(result.get("params") or {})],
        ["training s", percent(_mean([run.get("seconds") or {} for run in finished], "training"))],
        ["step ms", step_time(_mean(finished, "step_ms"), share)],
        ["memory of a step MiB", percent(_mean(finished, "step_memory_mib"))],
        ["step MFLOP", mega(_mean(finished, "step_flops"))],
        ["predict MFLOP", mega(_mean(finished, "predict_flops"))],
        ["peak memory MiB", percent(_mean(finished, "peak_memory_mib"))],
    ]
    contradictions = result.get("contradictions") or []
    said = lines(result.get("audit"), contradictions)
    red = [*range(len(rows), len(rows) + len(contradictions))]
    rows += [["audit" if at == 0 else "", line] for at, line in enumerate(said)]
    rows.append(["steps looked at", _audited(finished)])
    rows.append(["seeds finished", f"{len(finished)} of {len(runs)}{_cached(finished)}"])
    if len(finished) < len(runs):
        rows += [[f"seed {run['seed']}", run["status"]] for run in runs]
    title = f"{result['cell']}\n{_where(result)}"
    notes = [*([SAMPLING] if sampling else []), *([BUSY_NOTE] if busy(share) else [])]
    return Table(title, ["", _mean_of(finished)], rows, red=red, notes=notes)


def render_run(result: dict[str, Any]) -> None:
    """Print the table of a run on standard output, and published numbers apart from ours."""
    table = run_table(result)
    print_table(table.columns, table.rows, title=table.title, red=table.red)
    print_notes(table.notes)
    published = [Published(**row) for row in result.get("published") or []]
    print_published(published, f"\n{ELSEWHERE}")


def metrics(cell: CellRow, runs: Sequence[RunRow]) -> dict[str, float | None]:
    """A cell's line in MLflow: mean, standard deviation and interval over its finished seeds.

    Args:
        cell: whose runs they are.
        runs: the latest attempt of each seed.

    Returns:
        By name; None where nothing is known. Errors in percent, times in seconds.
    """
    finished = [run for run in runs if run.status == "finished"]
    test = error_interval((run.test_error for run in finished), cell.test_examples)
    spread = (test.mean, test.sd, test.low, test.high) if test else (None,) * 4
    names = ("test_error_mean", "test_error_sd", "test_error_ci95_low", "test_error_ci95_high")
    means = {
        "train_error_mean": interval_of_known(run.train_error for run in finished),
        "val_error_mean": interval_of_known(run.val_error for run in finished),
        "test_error_at_best_val_mean": interval_of_known(
            run.test_error_at_best_val for run in finished
        ),
        "seconds_training_mean": interval_of_known(run.seconds_training for run in finished),
        "step_ms_mean": interval_of_known(run.step_ms for run in finished),
        "step_memory_mib_mean": interval_of_known(run.step_memory_mib for run in finished),
        "peak_memory_mib_mean": interval_of_known(run.peak_memory_mib for run in finished),
    }
    return {
        **dict(zip(names, spread, strict=True)),
        **{name: mean(summary) for name, summary in means.items()},
        "n": float(len(finished)),
        "not_finished": float(len(runs) - len(finished)),
    }


def _where(result: dict[str, Any]) -> str:
    data = result.get("title") or f"{result['dataset']} ({result['variant']})"
    blocks = f" in {result['blocks']} blocks" if result.get("blocks") else ""
    return f"{result['network']}{blocks} on {data}, protocol {result['protocol']}"


def _mean_of(finished: list[dict[str, Any]]) -> str:
    seeds = [run["seed"] for run in finished]
    return f"mean of {len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}" if seeds else ""


def _summary(content: dict[str, Any] | None) -> Summary | None:
    if not content or content.get("mean") is None:
        return None
    low, high = content["ci95"] or (None, None)
    return Summary(content["mean"], content["sd"], low, high, content["n"])


def _audited(runs: list[dict[str, Any]]) -> str:
    """Say how many steps of each run were looked at: ``14 of 4,220``."""
    looked = sorted({len(run.get("glances") or []) for run in runs})
    steps = {run.get("steps") for run in runs}
    if len(steps) != 1 or None in steps:
        return NONE
    return f"{' to '.join(map(count, (looked[0], looked[-1])[: len(looked)]))} of {count(*steps)}"


def _mean(runs: list[dict[str, Any]], name: str) -> float | None:
    return mean(interval_of_known(run.get(name) for run in runs))


def _cached(finished: list[dict[str, Any]]) -> str:
    cached = sum(bool(run.get("cached")) for run in finished)
    return f" ({cached} trained earlier)" if cached else ""


def _parameters(params: dict[str, int | None]) -> str:
    words = {"inf": "for prediction", "aux": "auxiliary", "fix": "fixed"}
    parts = [f"{count(params[name])} {word}" for name, word in words.items() if params.get(name)]
    return ", ".join(parts) or NONE
