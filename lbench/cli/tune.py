"""``lbench tune``: search the best options of a rule on a dataset."""

from __future__ import annotations

from typing import Any

import click

from lbench.cli.common import net_option
from lbench.cli.report import report_study
from lbench.cli.study import comma_separated, run, study_options
from lbench.home import Home
from lbench.registry import registry


@click.command(epilog="Example: lbench tune --rule mine --plugin mine.py --dataset mnist")
@click.option("--rule", required=True, metavar="NAME", help="Learning rule; see: lbench rules")
@click.option("--dataset", required=True, metavar="NAME", help="Dataset; see: lbench datasets")
@click.option(
    "--network", metavar="NAME", help="Network; see: lbench networks. Default: the dataset's own."
)
@net_option
@click.option(
    "--trials",
    type=click.IntRange(1),
    metavar="N",
    default=30,
    show_default=True,
    help="Number of trials.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    metavar="N",
    help="Budget of trials and final runs. Default: the dataset's own.",
)
@click.option(
    "--only",
    callback=comma_separated,
    metavar="NAME,…",
    help="Options to search. Default: all that declare a range.",
)
@click.option(
    "--set",
    "config",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option that is not searched; may be repeated.",
)
@click.option("--status", is_flag=True, help="Show the progress of the search; run nothing.")
@click.option("--collect", is_flag=True, help="Write the report from ended runs; run nothing.")
@study_options
def command(
    rule: str,
    dataset: str,
    network: str | None,
    net: dict[str, str],
    trials: int,
    epochs: int | None,
    only: list[str] | None,
    config: tuple[str, ...],
    status: bool,
    collect: bool,
    home: Home,
    as_json: bool,
    **options: Any,
) -> int:
    """Search a rule's options, learning rate, weight decay and optimizer on a dataset.

    The command writes a report with the test error of the best configuration on new seeds, and
    prints the lbench run command of that configuration. A search that was stopped continues with
    the same command. The plan shows the name of the search, which lbench report takes.
    """
    from lbench.api.studies import changed, search_study
    from lbench.training.cell import parse_settings

    settings = parse_settings(config, "--set") | {f"net.{name}": net[name] for name in net}
    study = search_study(
        registry(), rule, dataset, network, epochs, only, settings, options["sampler"]
    )
    if status:
        from lbench.cli.study_status import show

        return show(study, home, as_json, study.name)
    if collect:
        report_study(study, home, as_json, study.name, data_dir=options["data_dir"])
        return 0
    study = changed(study, trials, options["sampler"], options["objectives"], options["seeds"])
    return run(
        study, home, as_json, study.name, datasets=[dataset], rules=None, show_best=True, **options
    )
