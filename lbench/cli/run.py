"""``lbench run``: train a rule on a dataset, or report the run that is there."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any

import click

from lbench.api.progress import say
from lbench.cli.common import (
    data_dir_option,
    gathered,
    home_option,
    json_option,
    plugin_option,
    print_json,
)
from lbench.containment import contained
from lbench.errors import UsageError
from lbench.home import Home

if TYPE_CHECKING:
    from lbench.api.run_result import RunResult
    from lbench.training.resolve import Request


def request_options(command: Any) -> Any:
    """Add the options that say what is trained; the command gets them as one mapping, ``asked``."""
    options = [
        click.option("--rule", required=True, help="What to train with; see: lbench rules"),
        click.option("--dataset", required=True, help="What to train on; see: lbench datasets"),
        click.option(
            "--set", "config", multiple=True, metavar="NAME=VALUE", help="An option of the rule."
        ),
        click.option("--network", help="Else the dataset's own; see: lbench networks"),
        click.option(
            "--net", multiple=True, metavar="NAME=VALUE", help="An option of the network."
        ),
        click.option(
            "--blocks", type=int, help="Group the network's layers into this many blocks."
        ),
        click.option("--epochs", type=int, help="Budget; else the dataset's own."),
        click.option("--examples", type=int, help="Budget in examples seen, instead of epochs."),
        click.option(
            "--labels", metavar="SHARE", default="1", help="Share of the training labels used."
        ),
        click.option(
            "--protocol",
            type=click.Choice(["strict", "paper"]),
            default="strict",
            help="strict holds out a validation split; paper trains on all, for the last epoch.",
        ),
        click.option("--augment", help="Such as crop4,flip or translate2; none for none."),
        click.option("--optimizer", help="adam, adamw or sgd."),
        click.option("--lr", help="Peak learning rate."),
        click.option("--weight-decay", help="L2 penalty; decoupled with adamw."),
        click.option("--momentum", help="Of sgd."),
        click.option("--schedule", help="constant, cosine, onecycle or step."),
        click.option(
            "--milestones", help="Of the step schedule, as shares of the budget: 0.5,0.75"
        ),
        click.option("--gamma", help="Factor at each milestone."),
        click.option("--batch", help="Examples per step."),
        click.option("--dropout", help="Share of each block's output that training sets to 0."),
        click.option(
            "--data", multiple=True, metavar="NAME=VALUE", help="An option of the dataset."
        ),
        data_dir_option,
        click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32"),
    ]
    return gathered(command, options, "asked")


def conditions_options(command: Any) -> Any:
    """Add the options that say where and how runs are trained, as one mapping, ``conditions``."""
    options = [
        click.option(
            "--seeds", type=click.IntRange(1), default=1, help="3 trains seeds 0, 1 and 2."
        ),
        click.option(
            "--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1."
        ),
        click.option(
            "--threads",
            type=click.IntRange(1, 1024),
            help="CPU threads. Default: OMP_NUM_THREADS, else as fits the network's size.",
        ),
        click.option(
            "--checkpoint-every",
            type=click.FloatRange(0),
            default=30.0,
            show_default=True,
            help="Seconds between checkpoints.",
        ),
        click.option("--probe", "probes", multiple=True, metavar="NAME", help="See: lbench probes"),
        click.option("--force", is_flag=True, help="Train again what is there, as a new attempt."),
        click.option("--no-store", is_flag=True, help="Write the run directory only."),
    ]
    return gathered(command, options, "conditions")


@click.command(name="run")
@request_options
@conditions_options
@home_option
@plugin_option
@json_option
def command(asked: dict[str, Any], conditions: dict[str, Any], home: Home, as_json: bool) -> int:
    """Train a rule on a dataset and record the run.

    A run that is there is reported; one that was stopped goes on from its checkpoint.

    \b
    lbench run --rule lfnn_l --dataset digits
    lbench run --rule lfnn_l --dataset mnist --set leadership=0.5 --seeds 3
    lbench run --rule bp --dataset mnist --network mlp --net widths=300,300 --lr 0.002
    lbench run --rule lfnn --dataset imagefolder --data-dir pictures --data size=64
    """
    # Options and names are checked before torch is imported: mistakes are reported at once.
    from lbench.api.training import Conditions, check_names, train
    from lbench.registry import registry

    known = registry()
    check_names(known, asked["rule"], asked["dataset"], asked["network"], conditions["probes"])
    if math.isnan(conditions["checkpoint_every"]):
        raise click.BadParameter("it must be a number of seconds", param_hint="--checkpoint-every")
    seeds, store = range(conditions.pop("seeds")), not conditions.pop("no_store")
    request = _request(asked)
    with contained():
        refuse_misplaced(request.config, known.load("rules", request.rule).Config.model_fields)
        result = train(request, Conditions(home, seeds, store=store, **conditions), known)
    if as_json:
        print_json(result.content)
    elif any(run["status"] == "finished" for run in result.runs):
        from lbench.report.summary import render_run

        render_run(result.content)
        if store and result.problem is None:
            say(f"See it in the MLflow UI with: lbench ui{home.option}\n")
    return _exit_code(result)


def _request(asked: Mapping[str, Any]) -> Request:
    from lbench.recipe import Recipe
    from lbench.training.cell import parse_settings
    from lbench.training.resolve import Request

    values = dict(asked)
    recipe = {name: values.pop(name) for name in asked if name in Recipe.model_fields}
    augment = values.pop("augment")
    return Request(
        config=parse_settings(values.pop("config"), "--set"),
        network_options=parse_settings(values.pop("net"), "--net"),
        recipe={name: value for name, value in recipe.items() if value is not None},
        augmentation="" if augment == "none" else augment,
        data_options=parse_settings(values.pop("data"), "--data"),
        **values,
    )


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


def _exit_code(result: RunResult) -> int:
    if result.stopped:
        return 130
    if not result.finished:
        return 1
    if result.problem is not None:
        say(f"{result.problem.hint}\n")
        return result.problem.exit_code
    return 0
