"""``lbench data``: show which datasets are available, and decode them in advance."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from lbench.api.progress import say
from lbench.cli.common import (
    add_test_reads,
    data_dir_option,
    data_option,
    home_option,
    json_option,
    plugin_option,
    print_json,
)
from lbench.containment import contained
from lbench.errors import DataError, UsageError
from lbench.home import Home
from lbench.output.table import NONE, Table, count
from lbench.registry import registry

names_argument = click.argument(
    "names",
    nargs=-1,
    metavar="[DATASET]...",
    shell_complete=lambda ctx, parameter, incomplete: [
        name for name in registry().datasets if name.startswith(incomplete)
    ],
)


@click.group(epilog="Example: lbench data status mnist")
def command() -> None:
    """Show which datasets are available, or decode them in advance."""


@command.command(epilog="Example: lbench data status mnist cifar10")
@names_argument
@data_dir_option
@data_option
@home_option
@plugin_option
@json_option
def status(
    names: tuple[str, ...],
    data_dir: Path | None,
    data: Mapping[str, str],
    home: Home,
    as_json: bool,
) -> None:
    """Show the state of datasets, and where their files are.

    Without a DATASET, show all. Test reads count how often the runs of the home read the test set.
    """
    rows = [_status(name, data_dir, data) for name in _chosen(names, data)]
    add_test_reads(rows, home)
    if as_json:
        print_json(rows)
        return
    Table(
        "",
        ["dataset", "state", "found as", "training", "test", "test reads"],
        [
            [
                row["name"],
                row["state"],
                row["title"] if row["variant"] else NONE,
                count(row["train"]),
                count(row["test"]),
                count(row["test_reads"]),
            ]
            for row in rows
        ],
        right=[3, 4, 5],
    ).print()
    # Paths and digests are long; as columns they would make all others fold on a narrow terminal.
    for row in rows:
        if row["path"]:
            digest = f", digest {row['digest'][:12]}" if row["digest"] else ""
            click.echo(f"{row['name']}: {row['path']}{digest}")
        for note in row["notes"]:
            click.echo(f"{row['name']}: {note}")
    shown = [row for row in rows if names or row["state"] == "damaged"]
    # Datasets that are made from the same files have the same message.
    for message, hint in dict.fromkeys((row["message"], row["hint"]) for row in shown):
        if message:
            click.echo(f"\n{message}\n{hint}")
    if len(shown) < len(rows):
        click.echo("\nWhere the files of a missing dataset belong: lbench data status NAME")


@command.command(epilog="Example: lbench data prepare mnist --data-dir ~/data")
@names_argument
@data_dir_option
@data_option
@click.option(
    "--download/--no-download",
    default=True,
    show_default=True,
    help="Download missing data, or do not.",
)
@plugin_option
@json_option
def prepare(
    names: tuple[str, ...],
    data_dir: Path | None,
    data: Mapping[str, str],
    download: bool,
    as_json: bool,
) -> int | None:
    """Decode datasets into the cache, so that runs start at once.

    Without a DATASET, decode all that are found, and download none. The exit code is 3 if a dataset
    that is named is missing, or one is damaged.
    """
    rows = []
    for name in _chosen(names, data):
        if names or _status(name, data_dir, data)["state"] != "missing":
            rows.append(_prepare(name, data_dir, data, download))
    failed = [row for row in rows if row["message"]]
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            if row["message"]:
                say(f"{row['name']}: {row['message']}\n", fg="red")
                say(f"{row['hint']}\n")
            else:
                click.echo(f"{row['name']}: {row['title']} is ready, digest {row['digest'][:12]}")
                for note in row["notes"]:
                    click.echo(f"{row['name']}: {note}")
    return DataError.exit_code if failed else None


def prepare_with(name: str, data_dir: Path | None, data: Mapping[str, str]) -> str:
    """Return the command that decodes a dataset with these options."""
    words = ["lbench", "data", "prepare", name]
    if data_dir is not None:
        words += ["--data-dir", str(data_dir)]
    for option, value in data.items():
        words += ["--data", f"{option}={value}"]
    return shlex.join(words)


def _chosen(names: tuple[str, ...], data: Mapping[str, str]) -> list[str]:
    if data and not names:
        raise UsageError(
            "--data is an option of one dataset; name the dataset.",
            "For example: lbench data prepare imagefolder --data-dir pictures --data size=64",
        )
    return list(names or registry().datasets)


@contained()
def _status(name: str, data_dir: Path | None, data: Mapping[str, str]) -> dict[str, Any]:
    from lbench.data.status import status

    return status(registry().load("datasets", name)(**data), data_dir)


@contained()
def _prepare(
    name: str, data_dir: Path | None, data: Mapping[str, str], download: bool
) -> dict[str, Any]:
    from lbench.data.status import prepare

    try:
        prepare(registry().load("datasets", name)(**data), data_dir, download=download)
    except DataError as error:
        row = _status(name, data_dir, data)
        return row | {"message": error.message, "hint": error.hint}
    return _status(name, data_dir, data)
