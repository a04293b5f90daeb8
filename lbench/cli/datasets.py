"""``lbench datasets``: list the datasets, or show one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lbench.cli.common import (
    add_test_reads,
    data_dir_option,
    home_option,
    json_option,
    name_argument,
    plugin_option,
    print_json,
    warn_left_out,
)
from lbench.containment import contained
from lbench.errors import UsageError
from lbench.home import Home
from lbench.hooks import DatasetEntry
from lbench.output.table import Table, text
from lbench.registry import registry


@click.command(epilog="Example: lbench datasets cifar10")
@name_argument("datasets")
@data_dir_option
@home_option
@plugin_option
@json_option
def command(name: str | None, data_dir: Path | None, home: Home, as_json: bool) -> None:
    """List the datasets, or show one: its defaults, its options and where its files are.

    Test reads count how often the runs of the home read the test set.
    """
    if name is None:
        if data_dir is not None:
            raise UsageError(
                "--data-dir needs the NAME of a dataset.", "For all: lbench data status"
            )
        rows = [_row(entry) for entry in registry().datasets.values()]
        if as_json:
            print_json(rows)
        else:
            columns = ["dataset", "title", "default network", "plugin"]
            Table("", columns, [list(row.values()) for row in rows]).print()
            prefixes = " and ".join(f"{prefix}-NAME" for prefix in registry().sequences)
            click.echo(f"Each of them is also a sequence of tasks: {prefixes}.")
        warn_left_out()
        return
    content = describe(name, data_dir, home)
    if as_json:
        print_json(content)
    else:
        _show(content)


@contained()
def describe(name: str, data_dir: Path | None, home: Home) -> dict[str, Any]:
    """Return a dataset's defaults and its state (:func:`lbench.data.status.status`).

    Args:
        name: name of the dataset.
        data_dir: directory of its files; None for ``LBENCH_DATA`` and the cache.
        home: the home whose runs' reads of the test set are counted.

    Raises:
        UsageError: no plugin has this dataset, or ``data_dir`` is not a directory.
    """
    from lbench.data.status import status

    entry: DatasetEntry = registry().find("datasets", name)
    source = registry().load("datasets", name)()
    state = status(source, data_dir)
    add_test_reads([state], home)
    return {
        **_row(entry),
        "epochs": source.epochs,
        "augmentation": source.augmentation,
        "options": source.Config.table(),
        "directories": [str(path) for path in source.directories(data_dir)],
        **{k: v for k, v in state.items() if k not in ("name", "title", "options")},
        "found_as": state["title"],
    }


def _row(entry: DatasetEntry) -> dict[str, str]:
    return {
        "name": entry.name,
        "title": entry.title,
        "network": entry.network,
        "plugin": registry().owner("datasets", entry.name),
    }


def _show(content: dict[str, Any]) -> None:
    click.echo(f"{content['name']}: {content['title']} (plugin {content['plugin']})\n")
    click.echo(f"default network  {content['network']}")
    click.echo(f"default epochs   {content['epochs']}")
    click.echo(f"augmentation     {content['augmentation'] or 'none'}")
    click.echo(f"state            {content['state']}")
    if content["path"]:
        click.echo(f"path             {content['path']}")
    if content["variant"]:
        shape = "x".join(str(side) for side in content["shape"])
        click.echo(f"found as         {content['found_as']}, variant {content['variant']}")
        click.echo(f"digest           {content['digest']}")
        click.echo(
            f"examples         {content['train']:,} training, {content['test']:,} test, "
            f"{shape}, {content['classes']} classes"
        )
        if content["test_reads"] is not None:
            click.echo(f"test reads       {content['test_reads']:,}, by the runs of this home")
    elif content["state"] == "found":
        click.echo(f"variant, digest  known after decoding: lbench data prepare {content['name']}")
    for note in content["notes"]:
        click.echo(f"note             {note}")
    Table(
        "\nOptions (--data)",
        ["option", "default", "what it may be", "meaning"],
        [[o["name"], text(o["default"]), o["values"], o["help"]] for o in content["options"]],
    ).print()
    if content["message"]:
        click.echo(f"\n{content['message']}\n{content['hint']}")
