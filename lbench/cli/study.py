"""``lbench study``: run a study, or report what is there of it."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from lbench.api.progress import duration, say
from lbench.cli.common import data_dir_option, home_option, json_option, plugin_option, print_json
from lbench.cli.report import show, write
from lbench.containment import contained
from lbench.errors import UsageError
from lbench.home import Home
from lbench.registry import registry

if TYPE_CHECKING:
    from lbench.api.study_result import StudyResult
    from lbench.studies.definition import Study

ASK_BEYOND = 2 * 3600
"""Seconds of an estimate above which the command asks before it begins."""


def names(ctx: click.Context, parameter: click.Parameter, value: str | None) -> list[str] | None:
    """``a,b`` as a list; None where the option is not given."""
    if value is None:
        return None
    found = [part.strip() for part in value.split(",") if part.strip()]
    if not found:
        raise click.BadParameter("it names nothing", ctx, parameter)
    return found


def running_options(command: Any) -> Any:
    """The options of every command that runs a study."""
    for option in reversed(
        [
            click.option("--sampler", help="tpe, gp, random, qmc, cmaes or grid."),
            click.option(
                "--objectives",
                callback=names,
                metavar="NAME,…",
                help="What is minimised: val_error, peak_memory, step_memory, step_ms, seconds, "
                "params. Several have a Pareto front, and no pruning.",
            ),
            click.option("--seeds", type=click.IntRange(1), help="Final runs a cell."),
            click.option("--workers", type=click.IntRange(1, 1024), help="Else one a GPU or core."),
            click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda:1."),
            click.option(
                "--threads",
                type=click.IntRange(1, 1024),
                help="CPU threads per worker. Default: OMP_NUM_THREADS, else by network size.",
            ),
            click.option(
                "--timeout",
                type=click.FloatRange(0, min_open=True),
                metavar="SECONDS",
                help="Stop then; the same command goes on.",
            ),
            click.option("--dry-run", is_flag=True, help="Print the plan; run nothing."),
            click.option("--yes", is_flag=True, help="Do not ask, however long it takes."),
            click.option("--fresh", is_flag=True, help="A new process for each run."),
            data_dir_option,
            plugin_option,
            home_option,
            json_option,
        ]
    ):
        command = option(command)
    return command


@click.command(epilog="Example: lbench study leadership --trials 50 --datasets digits --workers 2")
@click.argument("study", metavar="NAME|FILE", required=False)
@click.option("--list", "listing", is_flag=True, help="List the studies.")
@click.option("--status", is_flag=True, help="How far it is; run nothing.")
@click.option("--collect", is_flag=True, help="Report from what is there; run nothing.")
@click.option("--trials", type=click.IntRange(1), help="Of each search.")
@click.option("--datasets", callback=names, metavar="NAME,…", help="In the place of its own.")
@click.option("--rules", callback=names, metavar="NAME,…", help="In the place of its own.")
@running_options
def command(
    study: str | None,
    listing: bool,
    status: bool,
    collect: bool,
    trials: int | None,
    datasets: list[str] | None,
    rules: list[str] | None,
    home: Home,
    as_json: bool,
    **running: Any,
) -> int:
    """Run a study: what answers a question, and the answer as a report.

    What is there is not run again; a study that was stopped, even by kill -9, goes on. A study is
    an installed one (lbench studies) or a TOML file of your own.
    """
    if listing or study is None:
        from lbench.cli.studies import command as studies

        click.get_current_context().invoke(studies, as_json=as_json, name=None)
        return 0
    from lbench.report.study import check, unrecorded
    from lbench.studies.lookup import find_study

    known = find_study(study, registry(), home)
    check(known)
    for sentence in unrecorded(known):
        say(f"{sentence}\n", fg="yellow")
    if status:
        return _status(known, home, as_json, study)
    if collect:
        write(known, home, as_json, study, data_dir=running["data_dir"])
        return 0
    if known.path is None:
        from lbench.studies.ledger import read_ledger

        raise UsageError(
            f"Study {study} is a search that lbench tune makes.",
            f"It goes on with: {read_ledger(home, known).command}",
        )
    from lbench.api.studies import changed

    known = changed(known, trials, running["sampler"], running["objectives"], running["seeds"])
    return run(known, home, as_json, study, datasets=datasets, rules=rules, **running)


def run(
    study: Study,
    home: Home,
    as_json: bool,
    name: str,
    *,
    datasets: list[str] | None,
    rules: list[str] | None,
    dry_run: bool,
    yes: bool,
    paste: bool = False,
    **running: Any,
) -> int:
    """Plan, ask, run and report a study; return the exit code.

    Args:
        study: what is run.
        home: where it is run.
        as_json: whether JSON is printed.
        name: as the user called the study.
        datasets: in the place of the study's own.
        rules: in the place of the study's own.
        dry_run: print the plan, and run nothing.
        yes: ask nothing.
        paste: whether what each search chose is printed, as a command.
        running: the other options of a command that runs a study.
    """
    from lbench.api.studies import Workers, plan_study, run_study
    from lbench.api.study_output import plan_json, say_best, say_plan

    names = ("device", "threads", "timeout", "fresh", "data_dir")
    workers = Workers(running["workers"], **{option: running[option] for option in names})
    with contained():
        planned = plan_study(
            study, home, registry(), workers, datasets, rules, check_home=not dry_run, tell=_note
        )
    say_plan(planned.plan, list(planned.devices), planned.seconds, planned.untimed)
    if dry_run:
        if as_json:
            print_json(plan_json(planned.plan, planned.seconds))
        return 0
    _ask(planned.seconds, yes=yes, timeout=workers.timeout)
    with contained():
        result = run_study(planned, home, registry(), name, _typed())
    if as_json:
        print_json(result.content)
    elif result.report is not None:
        show(result.report)
    if paste and result.results is not None and not as_json:
        say_best(result.results, home, workers.data_dir)
    return _exit_code(result)


def _note(text: str) -> None:
    say(f"{text}\n")


def _exit_code(result: StudyResult) -> int:
    """Return the exit code of a study that has run, and report what the database lacks."""
    if result.problem is not None:
        say(f"{result.problem.hint}\n")
    if result.ending.stopped == "interrupted":
        return 130
    if result.ending.unfinished:
        return 1
    return 0 if result.problem is None else result.problem.exit_code


def _ask(seconds: float, *, yes: bool, timeout: float | None) -> None:
    expected = min(seconds, timeout or seconds)
    if yes or expected <= ASK_BEYOND:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"This would take about {duration(expected)}, which is more than "
            f"{duration(ASK_BEYOND)}.",
            "Give --yes to run it all the same, --timeout SECONDS to run a part of it, or fewer "
            "--datasets, --trials or --seeds.",
        )
    click.confirm(f"This takes about {duration(expected)}. Go on?", abort=True, err=True)


def _status(study: Study, home: Home, as_json: bool, name: str) -> int:
    from lbench.cli.study_status import show as show_status

    return show_status(study, home, as_json, name)


def _typed() -> str:
    return shlex.join(["lbench", *sys.argv[1:]])
