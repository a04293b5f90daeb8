"""``lbench run``: train a rule on a dataset, or report the run that is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lbench.cli.common import data_dir_option, home_option, json_option, print_json
from lbench.home import Home

if TYPE_CHECKING:
    from lbench.execute.driver import Outcome
    from lbench.execute.writer import Writer
    from lbench.run.resolve import Resolved

RECIPE = ("optimizer", "lr", "weight_decay", "momentum", "schedule", "milestones", "gamma", "batch",
          "dropout")  # fmt: skip


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
@click.option("--threads", type=click.IntRange(1), help="Of the CPU; else one a core.")
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="Seconds between checkpoints.",
)
@click.option("--force", is_flag=True, help="Train again what is there, as a new attempt.")
@click.option("--no-store", is_flag=True, help="Write the run directory only.")
@home_option
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
    protocol: str,
    augment: str | None,
    data: tuple[str, ...],
    data_dir: Path | None,
    device: str,
    precision: str,
    threads: int | None,
    checkpoint_every: float,
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

    from lbench.run.cell import parse_settings
    from lbench.run.resolve import Request, resolve

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
    )
    resolved = resolve(request, known)
    writer = None if no_store else _writer(home)
    outcomes = _run(
        resolved, range(seeds), home, device, threads, checkpoint_every, writer, force=force
    )
    result = describe(resolved, outcomes)
    if as_json:
        print_json(result)
    else:
        from lbench.report.summary import render_run

        render_run(result)
        if writer is not None:
            click.echo("See it in the MLflow UI with: lbench ui", err=True)
    return _exit_code(outcomes, writer)


def _run(
    resolved: Resolved,
    seeds: range,
    home: Home,
    device: str,
    threads: int | None,
    checkpoint_every: float,
    writer: Writer | None,
    *,
    force: bool,
) -> list[Outcome]:
    import torch

    from lbench.cli.progress import Progress
    from lbench.execute.driver import run_cell
    from lbench.run.device import pick
    from lbench.run.job import Machine

    cell = resolved.cell
    machine = Machine(pick(device), threads or torch.get_num_threads(), checkpoint_every)
    if writer is not None:
        for older in writer.older_code(cell.spec()):
            click.echo(
                f"The code of rule {cell.rule} has changed: {older} was trained with older code "
                "and is not used.",
                err=True,
            )
    click.echo(f"{cell.id} on {cell.data['title']} ({cell.data['variant']})", err=True)
    return run_cell(
        resolved,
        seeds,
        home,
        machine,
        lambda seed: Progress(f"seed {seed}"),
        writer,
        force=force,
    )


def _writer(home: Home) -> Writer:
    from lbench.execute.writer import Writer
    from lbench.report.summary import metrics

    return Writer(home, metrics, lambda text: click.secho(text, err=True, fg="yellow"))


def describe(resolved: Resolved, outcomes: list[Outcome]) -> dict[str, Any]:
    """The JSON object of one cell and its runs (``docs/json.md``)."""
    from lbench.report.published import published
    from lbench.report.stats import interval

    cell = resolved.cell
    config = cell.config.model_dump(mode="json")
    errors = [
        outcome.result["test_error"]
        for outcome in outcomes
        if outcome.result["status"] == "finished"
    ]
    return {
        "rule": cell.rule,
        "config": config,
        "recipe": cell.recipe.model_dump(mode="json"),
        "dataset": cell.task.dataset,
        "title": cell.data["title"],
        "variant": cell.data["variant"],
        "network": cell.network,
        "blocks": cell.blocks,
        "protocol": cell.protocol,
        "epochs": None,
        **cell.budget.as_dict(),
        "augmentation": cell.augmentation,
        "precision": cell.precision,
        "test_examples": len(resolved.dataset.test),
        "cell": cell.id,
        "runs": [_run_json(outcome) for outcome in outcomes],
        "test_error": interval(errors).as_dict() if errors else None,
        "published": [
            {
                "test_error": row.test_error,
                "network": row.network,
                "data": row.data,
                "source": row.source,
                "note": row.note,
            }
            for row in published(cell.rule, cell.task.dataset, config)
        ],
        "params": outcomes[0].params if outcomes else None,
        "audit": None,
    }


def _run_json(outcome: Outcome) -> dict[str, Any]:
    result = {k: v for k, v in outcome.result.items() if k not in ("ended", "resumable")}
    return {
        "seed": outcome.seed,
        "status": result.pop("status"),
        "reason": result.pop("reason"),
        "cached": outcome.cached,
        "attempt": outcome.attempt,
        "fingerprint": outcome.fingerprint,
        **result,
        "run_dir": str(outcome.run_dir),
        "mlflow_run_id": outcome.mlflow_run_id,
    }


def _exit_code(outcomes: list[Outcome], writer: Writer | None) -> int:
    statuses = {outcome.result["status"] for outcome in outcomes}
    for outcome in outcomes:
        result = outcome.result
        if result["status"] == "killed":
            click.echo(
                f"Stopped at step {result['steps']}. The same command goes on from there.", err=True
            )
        elif result["status"] != "finished":
            click.secho(
                f"Seed {outcome.seed} {result['status']}: {result['reason']} ({outcome.run_dir})",
                err=True,
                fg="red",
            )
    if "killed" in statuses:
        return 130
    if statuses != {"finished"}:
        return 1
    if writer is not None and writer.error is not None:
        click.secho(writer.error.hint, err=True)
        return writer.error.exit_code
    return 0
