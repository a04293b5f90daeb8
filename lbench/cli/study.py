"""``lbench study``: run a study, or report what is there of it."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lbench.api.progress import duration, say
from lbench.cli.common import data_dir_option, home_option, json_option, plugin_option, print_json
from lbench.cli.report import make, show, write
from lbench.cli.study_output import ending_json, plan_json, say_best, say_plan
from lbench.containment import contained
from lbench.errors import LbenchError, UsageError
from lbench.home import Home
from lbench.registry import registry
from lbench.threads import requested

if TYPE_CHECKING:
    from lbench.study.definition import Study
    from lbench.study.runner import Ending

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
    from lbench.study.lookup import find_study

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
        from lbench.study.ledger import read_ledger

        raise UsageError(
            f"Study {study} is a search that lbench tune makes.",
            f"It goes on with: {read_ledger(home, known).command}",
        )
    known = changed(known, trials, running["sampler"], running["objectives"], running["seeds"])
    return run(known, home, as_json, study, datasets=datasets, rules=rules, **running)


def changed(
    study: Study,
    trials: int | None,
    sampler: str | None,
    objectives: list[str] | None,
    seeds: int | None,
) -> Study:
    """A study with what the command line says over its file.

    Raises:
        UsageError: an unknown sampler or objective, or a search's option for a grid.
    """
    from lbench.errors import unknown
    from lbench.study.definition import OBJECTIVES, SAMPLERS
    from lbench.study.study_file import unknown_objective, wrong_objectives

    asked = {"trials": trials, "sampler": sampler, "objectives": objectives and tuple(objectives)}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if sampler is not None and sampler not in SAMPLERS:
        raise unknown("sampler", sampler, SAMPLERS, listing=f"Samplers: {', '.join(SAMPLERS)}.")
    for name in objectives or ():
        if name not in OBJECTIVES:
            raise UsageError(*unknown_objective(name))
    if objectives is not None and (problem := wrong_objectives(objectives)):
        raise UsageError(problem, "As in: --objectives val_error,step_memory")
    if given and study.search is None:
        raise UsageError(
            f"Study {study.name} is a grid: it has no search for --{next(iter(given))}.",
            "Leave it out; --seeds sets how many runs each cell has.",
        )
    search = study.search and replace(study.search, **given)
    if trials is not None and search is not None and search.sampler == "grid":
        raise UsageError(
            "The sampler grid tries every combination once: it takes no --trials.",
            "Leave it out; or give another sampler, as in: --sampler random",
        )
    return replace(study, search=search, seeds=seeds or study.seeds)


def run(
    study: Study,
    home: Home,
    as_json: bool,
    name: str,
    *,
    datasets: list[str] | None,
    rules: list[str] | None,
    workers: int | None,
    device: str,
    threads: int | None,
    timeout: float | None,
    dry_run: bool,
    yes: bool,
    fresh: bool,
    data_dir: Path | None,
    paste: bool = False,
    **_: Any,
) -> int:
    """Plans, asks, runs and reports; the exit code.

    Args:
        name: what the user called the study.
        paste: whether what each search chose is printed, to paste.
    """
    import torch

    from lbench.run.device import pick
    from lbench.study.collection import collect_results
    from lbench.study.driver import cores_per_worker, drive, worker_devices
    from lbench.study.equal_operations import with_budgets
    from lbench.study.estimate import estimated_seconds
    from lbench.study.plan import plan
    from lbench.study.step_costs import step_costs

    chosen = pick(device)
    with contained():
        wanted = plan(
            study,
            registry(),
            datasets=datasets,
            rules=rules,
            data_dir=data_dir,
            gpu=chosen.type == "cuda",
        )
        if not dry_run:
            home.check()
        places = worker_devices(workers, device)
        threads = threads or requested()
        timed = step_costs(
            wanted, torch.device(places[0]), threads, _note, cores_per_worker(len(places))
        )
        wanted = with_budgets(wanted, {key: cost.flops for key, cost in timed.items()})
        seconds = estimated_seconds(wanted, timed) / len(places)
    say_plan(wanted, places, seconds, sum(point.key not in timed for point in wanted.points))
    if dry_run:
        if as_json:
            print_json(plan_json(wanted, seconds))
        return 0
    _ask(seconds, yes=yes, timeout=timeout)

    from lbench.api.training import database_writer
    from lbench.cli.study_progress import StudyProgress

    home.prepare()
    with database_writer(home, _warn) as writer, StudyProgress(seconds) as display, contained():
        ending = drive(
            wanted,
            home,
            registry(),
            writer,
            display,
            command=_typed(),
            devices=places,
            threads=threads,
            data_dir=data_dir,
            plugin_files=registry().files,
            timeout=timeout,
            fresh=fresh,
        )
    if ending.stopped:
        say(f"Stopped ({ending.stopped}). The same command goes on from there.\n")
    results = None if writer.error is not None else collect_results(study, home)
    report = make(study, home, name) if results is not None and results.ended else None
    if as_json:
        print_json(ending_json(study, ending, report, results))
    elif report is not None:
        show(report)
    if paste and results is not None and not as_json:
        say_best(results, home, data_dir)
    return _exit_code(ending, writer.error)


def _exit_code(ending: Ending, error: LbenchError | None) -> int:
    """The exit code of a study that has run; says what the store lacks."""
    if error is not None:
        say(f"{error.hint}\n")
    if ending.stopped == "interrupted":
        return 130
    if ending.unfinished:
        return 1
    return 0 if error is None else error.exit_code


def _warn(text: str) -> None:
    say(f"{text}\n", fg="yellow")


def _note(text: str) -> None:
    say(f"{text}\n")


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
