"""``lbench run``: train a rule on a dataset, or print the results of finished runs."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lbench.api.progress import say
from lbench.cli.common import (
    TIME_OVER_CODE,
    cache_limit_option,
    data_dir_option,
    data_option,
    device_option,
    home_option,
    json_option,
    loader_workers_option,
    max_hours_option,
    net_option,
    number,
    option_group,
    plugin_option,
    print_json,
    skip_bad_option,
)
from lbench.containment import contained
from lbench.errors import UsageError
from lbench.home import Home
from lbench.training.reporter import TIME_OVER

if TYPE_CHECKING:
    from lbench.api.run_result import RunResult
    from lbench.training.resolve import Request


def request_options(command: Any) -> Any:
    """Add the options that define a configuration; the command gets them as ``settings``."""
    options = [
        click.option(
            "--rule", required=True, metavar="NAME", help="Learning rule; see: lbench rules"
        ),
        click.option(
            "--dataset", required=True, metavar="NAME", help="Dataset; see: lbench datasets"
        ),
        click.option(
            "--set",
            "config",
            multiple=True,
            metavar="NAME=VALUE",
            help="An option of the rule; may be repeated.",
        ),
        click.option(
            "--network",
            metavar="NAME",
            help="Network; see: lbench networks. Default: the dataset's own.",
        ),
        net_option,
        click.option(
            "--blocks",
            type=int,
            metavar="K",
            help="Group the network's layers into K blocks. Default: the network's own blocks.",
        ),
        click.option(
            "--encoder",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Begin with the weights in this file: a state dict of torchvision's model, or "
            "safetensors. The readout keeps its initial values.",
        ),
        click.option(
            "--freeze-encoder",
            is_flag=True,
            help="Never train the layers of --encoder, only those behind them (--net hidden=2000).",
        ),
        click.option(
            "--epochs",
            type=int,
            metavar="N",
            help="Budget in epochs. Default: the dataset's own.",
        ),
        click.option(
            "--examples",
            type=int,
            metavar="N",
            help="Budget in training examples, in place of epochs.",
        ),
        click.option(
            "--labels",
            metavar="SHARE",
            default="1",
            show_default=True,
            help="Share of the training labels that is used.",
        ),
        click.option(
            "--protocol",
            type=click.Choice(["strict", "paper"]),
            default="strict",
            show_default=True,
            help="strict holds out a validation split; paper trains on all training examples and "
            "reports the last epoch.",
        ),
        click.option(
            "--augment",
            metavar="NAMES",
            help="Augmentation, such as crop4,flip or resizedcrop,flip; none for no augmentation.",
        ),
        click.option("--optimizer", metavar="NAME", help="adam, adamw or sgd."),
        click.option("--lr", metavar="NUMBER", help="Peak learning rate."),
        click.option("--weight-decay", metavar="NUMBER", help="L2 penalty; decoupled with adamw."),
        click.option("--momentum", metavar="NUMBER", help="Momentum of sgd."),
        click.option("--schedule", metavar="NAME", help="constant, cosine, onecycle or step."),
        click.option(
            "--milestones",
            metavar="SHARES",
            help="Milestones of the step schedule, as shares of the budget: 0.5,0.75",
        ),
        click.option(
            "--gamma", metavar="NUMBER", help="Factor of the learning rate at each milestone."
        ),
        click.option("--batch", metavar="N", help="Examples per step."),
        click.option(
            "--microbatch",
            type=click.IntRange(1),
            metavar="N",
            help="Run each batch in parts of at most N examples, which need less memory, and "
            "average their gradients. Refused for a rule or network that would then learn "
            "otherwise. Default: the whole batch at once.",
        ),
        click.option(
            "--dropout",
            metavar="SHARE",
            help="Share of each block's output that training sets to 0.",
        ),
        data_option,
        data_dir_option,
        skip_bad_option,
        click.option(
            "--precision",
            type=click.Choice(["fp32", "bf16"]),
            default="fp32",
            show_default=True,
            help="bf16 trains with bfloat16 autocast.",
        ),
    ]
    return option_group(command, options, "settings")


def conditions_options(command: Any) -> Any:
    """Add the options that say where and how runs are trained; the command gets ``conditions``."""
    options = [
        click.option(
            "--seeds",
            type=click.IntRange(1),
            metavar="N",
            default=1,
            show_default=True,
            help="Number of seeds: 3 trains seeds 0, 1 and 2.",
        ),
        device_option,
        click.option(
            "--threads",
            type=click.IntRange(1, 1024),
            metavar="N",
            help="CPU threads. Default: OMP_NUM_THREADS, else a number that fits the network.",
        ),
        loader_workers_option,
        click.option(
            "--checkpoint-every",
            type=click.FloatRange(0),
            metavar="SECONDS",
            callback=number,
            help="Seconds between checkpoints. Default: 30, or more where checkpoints would take "
            "more than 1 % of the time.",
        ),
        max_hours_option,
        click.option(
            "--probe",
            "probes",
            multiple=True,
            metavar="NAME",
            help="A probe of the run, see: lbench probes. May be repeated.",
        ),
        click.option(
            "--force", is_flag=True, help="Train finished runs again, each as a new attempt."
        ),
        click.option(
            "--no-store",
            is_flag=True,
            help="Write run directories only, and nothing to the store.",
        ),
    ]
    return option_group(command, options, "conditions")


@click.command(name="run")
@request_options
@conditions_options
@cache_limit_option
@home_option
@plugin_option
@json_option
def command(settings: dict[str, Any], conditions: dict[str, Any], home: Home, as_json: bool) -> int:
    """Train a rule on a dataset and record the runs, one per seed.

    A run that has finished is not trained again: the command prints its results. A run that was
    stopped continues from its checkpoint.

    \b
    lbench run --rule lfnn_l --dataset digits
    lbench run --rule lfnn_l --dataset mnist --set leadership=0.5 --seeds 3
    lbench run --rule bp --dataset mnist --network mlp --net widths=300,300 --lr 0.002
    lbench run --rule lfnn --dataset imagefolder --data-dir pictures --data size=64
    lbench run --rule bp --dataset cifar10 --max-hours 8
    """
    # Options and names are checked before torch is imported, so that errors appear at once.
    from lbench.api.training import Conditions, check_names, train
    from lbench.registry import registry

    known = registry()
    names = (settings["rule"], settings["dataset"], settings["network"])
    check_names(known, *names, conditions["probes"])
    seeds, store = range(conditions.pop("seeds")), not conditions.pop("no_store")
    request = _request(settings)
    with contained():
        refuse_misplaced(request.config, known.load("rules", request.rule).Config.model_fields)
        result = train(request, Conditions(home, seeds, store=store, **conditions), known)
    if as_json:
        print_json(result.content)
    elif any(run["status"] == "finished" for run in result.runs):
        from lbench.report.summary import render_run

        render_run(result.content)
        if store and result.problem is None:
            say(f"Show it in the MLflow UI with: lbench ui{home.option}\n")
    return _exit_code(result)


def _request(settings: Mapping[str, Any]) -> Request:
    from lbench.recipe import Recipe
    from lbench.training.cell import parse_settings
    from lbench.training.resolve import Request

    values = dict(settings)
    recipe = {name: values.pop(name) for name in settings if name in Recipe.model_fields}
    augment = values.pop("augment")
    data = values.pop("data")
    if values.pop("skip_bad"):
        data.setdefault("skip_bad", "true")
    return Request(
        config=parse_settings(values.pop("config"), "--set"),
        network_options=values.pop("net"),
        recipe={name: value for name, value in recipe.items() if value is not None},
        augmentation="" if augment == "none" else augment,
        data_options=data,
        **values,
    )


def refuse_misplaced(config: Mapping[str, Any], rule_options: Container[str]) -> None:
    """Check that ``--set`` names no option of the command that is not one of the rule.

    Args:
        config: names and values given with ``--set``.
        rule_options: names of the rule's options.

    Raises:
        UsageError: a name is an option of the command only.
    """
    parameters = click.get_current_context().command.params
    flags = {parameter.name: parameter.opts[0] for parameter in parameters}
    for name, value in config.items():
        if name in flags and name not in rule_options:
            raise UsageError(
                f"--set takes options of the rule, and {name} is none of them.",
                f"It is an option of the command: {flags[name]} {value}",
            )


def _exit_code(result: RunResult) -> int:
    if result.stopped:
        time_over = any(outcome.stopped == TIME_OVER for outcome in result.outcomes)
        return TIME_OVER_CODE if time_over else 130
    if not result.finished:
        return 1
    if result.problem is not None:
        say(f"{result.problem.hint}\n")
        return result.problem.exit_code
    return 0
