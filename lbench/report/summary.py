"""What ``lbench run`` prints when it is done: one small table of the cell that was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lbench.report.citations import print_published
from lbench.report.compare import test_interval
from lbench.report.comparison import SAMPLING, error
from lbench.report.published import COLUMNS, Published
from lbench.report.stats import Summary
from lbench.report.table import NONE, count, percent, print_table
from lbench.rundir import RunDir


def render_run(result: dict[str, Any]) -> None:
    """Prints the JSON object of ``lbench run --json`` for people, on standard output.

    Test error with its interval (with one seed that of the test set's sampling, marked as
    such), validation error, parameters, times, each seed that has not finished, and published
    numbers apart from ours.
    """
    runs = result["runs"]
    finished = [run for run in runs if run["status"] == "finished"]
    test = _summary(result.get("test_error"))
    sampling = None
    if test is not None and test.n == 1:
        run = next(run for run in finished if run["test_error"] is not None)
        if run.get("run_dir"):
            sampling = test_interval(run["test_error"], RunDir(Path(run["run_dir"])))
    params = result.get("params") or {}
    seconds = [run["seconds"]["training"] for run in finished if run.get("seconds")]
    rows = [
        ["test error %", error(test, sampling)],
        ["at best validation %", percent(_mean(finished, "test_error_at_best_val"))],
        ["validation error %", percent(_mean(finished, "val_error"))],
        ["train error %", percent(_mean(finished, "train_error"))],
        ["seeds finished", f"{len(finished)} of {len(runs)}" + _cached(finished)],
        ["parameters", " + ".join(_parameters(params)) or NONE],
        ["training s a seed", percent(sum(seconds) / len(seconds) if seconds else None)],
        ["step ms", percent(_mean(finished, "step_ms"))],
        ["peak memory MiB", _whole(_mean(finished, "peak_memory_mib"))],
    ]
    title = f"{result['cell']}\n{_where(result)}"
    print_table(["", "mean over seeds"], rows, title=title)
    if sampling:
        click.echo(SAMPLING)
    for run in runs:
        if run["status"] != "finished":
            reason = f": {run['reason']}" if run.get("reason") else ""
            click.secho(f"Seed {run['seed']} is {run['status']}{reason}", fg="red")
    print_published(
        [_published(row, result) for row in result.get("published") or []],
        "\nPublished, percent; other networks and data, as stated",
    )


def _where(result: dict[str, Any]) -> str:
    variant = result.get("variant")
    data = f"{result['dataset']} ({variant})" if variant else result["dataset"]
    blocks = f" in {result['blocks']} blocks" if result.get("blocks") else ""
    return f"{result['network']}{blocks} on {data}, protocol {result['protocol']}"


def _summary(content: dict[str, Any] | None) -> Summary | None:
    if not content or content.get("mean") is None:
        return None
    low, high = content["ci95"] or (None, None)
    return Summary(content["mean"], content["sd"], low, high, content["n"])


def _mean(runs: list[dict[str, Any]], name: str) -> float | None:
    values = [run[name] for run in runs if run.get(name) is not None]
    return sum(values) / len(values) if values else None


def _cached(finished: list[dict[str, Any]]) -> str:
    cached = sum(bool(run.get("cached")) for run in finished)
    return f" ({cached} trained earlier)" if cached else ""


def _parameters(params: dict[str, int | None]) -> list[str]:
    words = {"inf": "of the prediction", "aux": "auxiliary", "fix": "fixed"}
    return [
        f"{count(params[name])} {meaning}" for name, meaning in words.items() if params.get(name)
    ]


def _whole(value: float | None) -> str:
    return NONE if value is None else f"{value:.0f}"


def _published(row: dict[str, Any], result: dict[str, Any]) -> Published:
    blank = dict.fromkeys(COLUMNS, "") | {"rule": result["rule"], "dataset": result["dataset"]}
    return Published(**{**blank, "train_error": None, **row})
