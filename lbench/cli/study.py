"""``lbench study``: run a study, show its progress, or write its report."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from lbench.api.progress import duration, say
from lbench.cli.common import (
    TIME_OVER_CODE,
    cache_limit_option,
    data_dir_option,
    device_option,
    home_option,
    json_option,
    loader_workers_option,
    max_hours_option,
    net_option,
    number,
    plugin_option,
    print_json,
    skip_bad_option,
)
from lbench.cli.report import print_answer, report_study
from lbench.containment import contained
from lbench.errors import UsageError
from lbench.home import Home
from lbench.registry import registry

if TYPE_CHECKING:
    from lbench.api.study_result import StudyResult
    from lbench.studies.definition import Study

CONFIRM_ABOVE = 2 * 3600
"""Estimated seconds above which the command asks for confirmation before it starts."""


def comma_separated(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> list[str] | None:
    """Return the names in ``a,b`` as a list; None where the option is not given."""
    if value is None:
        return None
    names = [part.strip() for part in value.split(",") if part.strip()]
    if not names:
        raise click.BadParameter("the list has no name.", ctx, parameter)
    return names


def study_options(command: Any) -> Any:
    """Add the options of every command that runs a study."""
    for option in reversed(
        [
            click.option(
                "--sampler",
                metavar="NAME",
                help="Sampler of the search: tpe, gp, random, qmc, cmaes or grid.",
            ),
            click.option(
                "--objectives",
                callback=comma_separated,
                metavar="NAME,…",
                help="What the search minimises: val_error, peak_memory, step_memory, step_ms, "
                "seconds, params. Several objectives give a Pareto front, without pruning.",
            ),
            click.option(
                "--seeds",
                type=click.IntRange(1),
                metavar="N",
                help="Number of final runs per configuration, each with its own seed.",
            ),
            click.option(
                "--workers",
                type=click.IntRange(1, 1024),
                metavar="N",
                help="Number of worker processes. Default: one per GPU or CPU core.",
            ),
            device_option,
            click.option(
                "--threads",
                type=click.IntRange(1, 1024),
                metavar="N",
                help="CPU threads per worker process. Default: OMP_NUM_THREADS, else a number "
                "that fits the network.",
            ),
            click.option(
                "--timeout",
                type=click.FloatRange(0, min_open=True),
                metavar="SECONDS",
                callback=number,
                help="--max-hours in seconds.",
            ),
            max_hours_option,
            click.option("--dry-run", is_flag=True, help="Print the plan; run nothing."),
            click.option(
                "--yes", is_flag=True, help="Start without confirmation, however long it takes."
            ),
            click.option("--fresh", is_flag=True, help="Start a new process for each run."),
            data_dir_option,
            loader_workers_option,
            skip_bad_option,
            cache_limit_option,
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
@click.option("--status", is_flag=True, help="Show the progress of the study; run nothing.")
@click.option("--collect", is_flag=True, help="Write the report from ended runs; run nothing.")
@click.option("--trials", type=click.IntRange(1), metavar="N", help="Trials per search.")
@click.option(
    "--datasets",
    callback=comma_separated,
    metavar="NAME,…",
    help="Datasets in place of the study's own.",
)
@click.option(
    "--rules", callback=comma_separated, metavar="NAME,…", help="Rules in place of the study's own."
)
@click.option(
    "--network",
    metavar="NAME",
    help="Network in place of the study's own; an arm that names its own network keeps it.",
)
@net_option
@study_options
def command(
    study: str | None,
    listing: bool,
    status: bool,
    collect: bool,
    trials: int | None,
    datasets: list[str] | None,
    rules: list[str] | None,
    network: str | None,
    net: dict[str, str],
    home: Home,
    as_json: bool,
    **options: Any,
) -> int:
    """Run a study, and write a report that answers its question.

    NAME is an installed study (see: lbench studies), FILE a TOML file of your own. The command
    first prints a plan with the estimated time. Finished runs are not trained again; a study that
    was stopped, even by kill -9, continues with the same command.

    \b
    lbench study leadership_grid --datasets cifar10 --network cnn-cpu
    lbench study leadership --datasets tiny-imagenet --network resnet18 --net stem=7x7
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
        report_study(known, home, as_json, study, data_dir=options["data_dir"])
        return 0
    if known.path is None:
        from lbench.studies.ledger import read_ledger

        raise UsageError(
            f"Study {study} is a search of lbench tune.",
            f"Continue it with: {read_ledger(home, known).command}",
        )
    from lbench.api.studies import changed, on_network

    known = on_network(known, registry(), network, net)
    known = changed(known, trials, options["sampler"], options["objectives"], options["seeds"])
    return run(known, home, as_json, study, datasets=datasets, rules=rules, **options)


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
    show_best: bool = False,
    **options: Any,
) -> int:
    """Plan, confirm, run and report a study; return the exit code.

    Args:
        study: the study.
        home: its home.
        as_json: whether JSON is printed.
        name: the study's name or file, as the user gave it.
        datasets: datasets in place of the study's own.
        rules: rules in place of the study's own.
        dry_run: print the plan, and run nothing.
        yes: start without confirmation.
        show_best: print the command that runs what each search chose.
        options: values of the other options of :func:`study_options`.
    """
    from lbench.api.studies import Workers, plan_study, run_study
    from lbench.api.study_output import cost_table, plan_json, print_best, say_plan

    if options["max_hours"] is not None:
        if options["timeout"] is not None:
            raise UsageError("--timeout and --max-hours are the same; give one of them.")
        options["timeout"] = 3600 * options["max_hours"]
    names = ("device", "threads", "timeout", "fresh", "data_dir", "loader_workers", "skip_bad")
    workers = Workers(options["workers"], **{name: options[name] for name in names})
    with contained():
        planned = plan_study(
            study, home, registry(), workers, datasets, rules, check_home=not dry_run, notify=_note
        )
    devices = list(planned.devices)
    say_plan(planned.plan, devices, planned.cost)
    if dry_run:
        if as_json:
            print_json(plan_json(planned.plan, devices, planned.cost))
        else:
            cost_table(devices, planned.cost).print()
        return 0
    _confirm(planned.cost.seconds, yes=yes, timeout=workers.timeout)
    with contained():
        result = run_study(planned, home, registry(), name, _command_line())
    if as_json:
        print_json(result.content)
    elif result.report is not None:
        print_answer(result.report)
    if show_best and result.results is not None and not as_json:
        print_best(result.results, home, workers.data_dir)
    return _exit_code(result)


def _note(text: str) -> None:
    say(f"{text}\n")


def _exit_code(result: StudyResult) -> int:
    """Return the exit code of a study that has run; say what to do if the store lacks its runs."""
    if result.problem is not None:
        say(f"{result.problem.hint}\n")
    if result.ending.stopped == "interrupted":
        return 130
    if result.ending.stopped == "timeout":
        return TIME_OVER_CODE
    if result.ending.unfinished:
        return 1
    return 0 if result.problem is None else result.problem.exit_code


def _confirm(seconds: float, *, yes: bool, timeout: float | None) -> None:
    expected = min(seconds, timeout or seconds)
    if yes or expected <= CONFIRM_ABOVE:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"The study would take about {duration(expected)}. Above {duration(CONFIRM_ABOVE)} it "
            "needs a confirmation.",
            "Give --yes to start it, --max-hours H to run a part of it, or fewer --datasets, "
            "--trials or --seeds.",
        )
    click.confirm(f"The study takes about {duration(expected)}. Start?", abort=True, err=True)


def _status(study: Study, home: Home, as_json: bool, name: str) -> int:
    from lbench.cli.study_status import show as show_status

    return show_status(study, home, as_json, name)


def _command_line() -> str:
    return shlex.join(["lbench", *sys.argv[1:]])
