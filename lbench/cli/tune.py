"""``lbench tune``: the best options of one rule on one dataset."""

from __future__ import annotations

from typing import Any

import click

from lbench.cli.report import write
from lbench.cli.study import run, running_options
from lbench.errors import UsageError
from lbench.home import Home
from lbench.registry import registry


@click.command(epilog="Example: lbench tune --rule mine --plugin mine.py --dataset mnist")
@click.option("--rule", required=True, help="What to tune; see: lbench rules")
@click.option("--dataset", required=True, help="What to tune it on; see: lbench datasets")
@click.option("--network", help="Else the dataset's own; see: lbench networks")
@click.option("--trials", type=click.IntRange(1), default=30, show_default=True)
@click.option("--epochs", type=click.IntRange(1), help="Of trials and final runs.")
@click.option("--only", metavar="NAME,…", help="The options to search; else all with a range.")
@click.option("--set", "config", multiple=True, metavar="NAME=VALUE", help="An option that stays.")
@click.option("--status", is_flag=True, help="How far it is; run nothing.")
@click.option("--collect", is_flag=True, help="Report from what is there; run nothing.")
@running_options
def command(
    rule: str,
    dataset: str,
    network: str | None,
    trials: int,
    epochs: int | None,
    only: str | None,
    config: tuple[str, ...],
    status: bool,
    collect: bool,
    home: Home,
    as_json: bool,
    **running: Any,
) -> int:
    """Search a rule's options, learning rate, decay and optimizer on a dataset.

    Prints the best configuration, to paste behind lbench run, with the test error that it has on
    fresh seeds. The same command goes on where it stopped; lbench report takes the name that is
    printed with the plan.
    """
    from lbench.api.studies import changed, search_study
    from lbench.training.cell import parse_settings

    settings = parse_settings(config, "--set")
    options = None if only is None else _names(only)
    study = search_study(
        registry(), rule, dataset, network, epochs, options, settings, running["sampler"]
    )
    if status:
        from lbench.cli.study_status import show

        return show(study, home, as_json, study.name)
    if collect:
        write(study, home, as_json, study.name, data_dir=running["data_dir"])
        return 0
    study = changed(study, trials, running["sampler"], running["objectives"], running["seeds"])
    return run(
        study, home, as_json, study.name, datasets=[dataset], rules=None, paste=True, **running
    )


def _names(only: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in only.split(",") if part.strip())
    if not found:
        raise UsageError("--only names no option.", "As in: --only lr,batch")
    return found
