"""``lbench run``: train a rule on a dataset, or report the run that is there."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lbench.cli.common import data_dir_option, home_option, json_option, plugin_option, print_json
from lbench.cli.progress import Progress, say
from lbench.containment import contained
from lbench.errors import UsageError
from lbench.home import Home
from lbench.rundir import RunDir
from lbench.threads import requested

if TYPE_CHECKING:
    from lbench.execute.driver import Outcome
    from lbench.execute.writer import Writer
    from lbench.run.job import Machine
    from lbench.run.resolve import Resolved


@click.command(name="run")
@click.option("--rule", required=True, help="What to train with; see: lbench rules")
@click.option("--dataset", required=True, help="What to train on; see: lbench datasets")
@click.option("--set", "config", multiple=True, metavar="NAME=VALUE", help="An option of the rule.")
@click.option("--network", help="Else the dataset's own; see: lbench networks")
@click.option("--net", multiple=True, metavar="NAME=VALUE", help="An option of the network.")
@click.option("--blocks", type=int, help="Group the network's layers into so many blocks.")
@click.option("--seeds", type=click.IntRange(1), default=1, help="3 trains seeds 0, 1 and 2.")
@click.option("--epochs", type=int, help="Budget; else the dataset's own.")
@click.option("--examples", type=int, help="Budget in examples seen, instead of epochs.")
@click.option("--labels", metavar="SHARE", default="1", help="Share of the training labels used.")
@click.option(
    "--protocol",
    type=click.Choice(["strict", "paper"]),
    default="strict",
    help="strict holds out a validation split; paper trains on all, for the last epoch.",
)
@click.option("--augment", help="Such as crop4,flip or translate2; none for none.")
@click.option("--optimizer", help="adam, adamw or sgd.")
@click.option("--lr", help="Peak learning rate.")
@click.option("--weight-decay", help="L2 penalty; decoupled with adamw.")
@click.option("--momentum", help="Of sgd.")
@click.option("--schedule", help="constant, cosine, onecycle or step.")
@click.option("--milestones", help="Of the step schedule, as shares of the budget: 0.5,0.75")
@click.option("--gamma", help="Factor at each milestone.")
@click.option("--batch", help="Examples a step.")
@click.option("--dropout", help="Share of each block's output that training sets to 0.")
@click.option("--data", multiple=True, metavar="NAME=VALUE", help="An option of the dataset.")
@data_dir_option
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32")
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help="CPU threads. Default: OMP_NUM_THREADS, else a number that fits the network's size.",
)
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="Seconds between checkpoints.",
)
@click.option("--probe", "probes", multiple=True, metavar="NAME", help="See: lbench probes")
@click.option("--force", is_flag=True, help="Train again what is there, as a new attempt.")
@click.option("--no-store", is_flag=True, help="Write the run directory only.")
@home_option
@plugin_option
@json_option
def command(
    rule: str,
    dataset: str,
    config: tuple[str, ...],
    network: str | None,
    net: tuple[str, ...],
    blocks: int | None,
    seeds: int,
    epochs: int | None,
    examples: int | None,
    labels: str,
    protocol: str,
    augment: str | None,
    data: tuple[str, ...],
    data_dir: Path | None,
    device: str,
    precision: str,
    threads: int | None,
    checkpoint_every: float,
    probes: tuple[str, ...],
    force: bool,
    no_store: bool,
    home: Home,
    as_json: bool,
    **recipe: str | None,
) -> int:
    """Train a rule on a dataset and record the run.

    A run that is there is reported; one that was stopped goes on from its checkpoint.

    \b
    lbench run --rule lfnn_l --dataset digits
    lbench run --rule lfnn_l --dataset mnist --set leadership=0.5 --seeds 3
    lbench run --rule bp --dataset mnist --network mlp --net widths=300,300 --lr 0.002
    lbench run --rule lfnn --dataset imagefolder --data-dir pictures --data size=64
    """
    # Options and names are checked before torch is imported: mistakes are told at once.
    from lbench.registry import registry

    known = registry()
    known.find("rules", rule)
    known.find("datasets", dataset)
    if network is not None:
        known.find("networks", network)
    for probe in probes:
        known.find("probes", probe)

    if math.isnan(checkpoint_every):
        raise click.BadParameter("it must be a number of seconds", param_hint="--checkpoint-every")

    from lbench.run.batches import check_batches
    from lbench.run.cell import parse_settings
    from lbench.run.resolve import Request, refuse_idle, resolve

    request = Request(
        rule=rule,
        dataset=dataset,
        config=parse_settings(config, "--set"),
        network=network,
        network_options=parse_settings(net, "--net"),
        blocks=blocks,
        recipe={name: value for name, value in recipe.items() if value is not None},
        protocol=protocol,
        epochs=epochs,
        examples=examples,
        augmentation="" if augment == "none" else augment,
        precision=precision,
        data_dir=data_dir,
        data_options=parse_settings(data, "--data"),
        labels=labels,
    )
    with contained():
        refuse_misplaced(request.config, known.load("rules", rule).Config.model_fields)
        resolved = resolve(request, known)
        refuse_idle(resolved.idle)
        check_batches(resolved)
    for note in resolved.notes:
        say(f"{note}\n", fg="yellow")
    machine = _machine(device, threads, checkpoint_every)
    home.prepare()
    with contextlib.nullcontext() if no_store else store_writer(home) as writer, contained():
        outcomes = _run(resolved, range(seeds), home, machine, writer, force=force, probes=probes)
    _tell(outcomes)
    from lbench.report.result import describe

    result = describe(resolved, outcomes)
    if as_json:
        print_json(result)
    elif any(outcome.result["status"] == "finished" for outcome in outcomes):
        from lbench.report.summary import render_run

        render_run(result)
        if writer is not None and writer.error is None:
            say(f"See it in the MLflow UI with: lbench ui{home.option}\n")
    return _exit_code(outcomes, writer)


def refuse_misplaced(settings: Mapping[str, Any], options: Container[str]) -> None:
    """Raise UsageError when ``--set`` has what is an option of the command and not of the rule.

    Args:
        options: of the rule.
    """
    own = {each.name: each.opts[0] for each in click.get_current_context().command.params}
    for name, value in settings.items():
        if name in own and name not in options:
            raise UsageError(
                f"--set takes options of the rule, and {name} is none of them.",
                f"It is an option of the command: {own[name]} {value}",
            )


def _machine(device: str, threads: int | None, checkpoint_every: float) -> Machine:
    from lbench.run.device import pick
    from lbench.run.job import Machine

    return Machine(pick(device), threads or requested(), checkpoint_every)


def store_writer(home: Home) -> Writer:
    """The writer of a home's store, which says once when the store cannot be reached."""
    from lbench.execute.writer import Writer
    from lbench.report.summary import metrics

    def warn(text: str) -> None:
        say(f"{text}\n", fg="yellow")

    return Writer(home, metrics, warn)


def _run(
    resolved: Resolved,
    seeds: range,
    home: Home,
    machine: Machine,
    writer: Writer | None,
    *,
    force: bool,
    probes: tuple[str, ...],
) -> list[Outcome]:
    from lbench.execute.driver import run_cell

    cell = resolved.cell
    if writer is not None:
        for older in writer.older_code(cell.spec()):
            say(
                f"The code of rule {cell.rule} has changed: {older} was trained with older code "
                "and is not used.\n"
            )
    say(f"{cell.id} on {cell.data['title']} ({cell.data['variant']})\n")
    for note in resolved.dataset.notes:
        say(f"{note}\n")

    def reporter(seed: int) -> Progress:
        return Progress(f"seed {seed}")

    return run_cell(resolved, seeds, home, machine, reporter, writer, force=force, probes=probes)


def _tell(outcomes: list[Outcome]) -> None:
    """Say on standard error which runs have not finished, and why."""
    for outcome in outcomes:
        result = outcome.result
        if outcome.stopped:
            at = f" at step {result['steps']}" if result["status"] == "killed" else ""
            say(f"Stopped{at}. The same command goes on from there.\n")
        if result["status"] == "killed":
            continue
        if result["status"] != "finished":
            how = f"Seed {outcome.seed} {result['status']}: {result['reason']}"
            say(f"{how}\n", fg="red")
            traceback = RunDir(outcome.run_dir).traceback
            where = f"Traceback: {traceback}" if traceback.exists() else f"Run: {outcome.run_dir}"
            say(f"{where}\n")


def _exit_code(outcomes: list[Outcome], writer: Writer | None) -> int:
    statuses = {outcome.result["status"] for outcome in outcomes}
    if any(outcome.stopped for outcome in outcomes):
        return 130
    if statuses != {"finished"}:
        return 1
    if writer is not None and writer.error is not None:
        say(f"{writer.error.hint}\n")
        return writer.error.exit_code
    return 0
