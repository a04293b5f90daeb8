"""``lbench data``: show which datasets are available, decode them ahead, remove decoded files."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lbench.api.progress import say
from lbench.cli.common import (
    add_test_reads,
    cache_limit_option,
    completed,
    data_dir_option,
    data_option,
    home_option,
    json_option,
    plugin_option,
    print_json,
)
from lbench.containment import contained
from lbench.errors import DataError, UsageError, printable, unknown
from lbench.home import Home
from lbench.output.table import NONE, Table, count
from lbench.plurals import counted
from lbench.registry import registry

if TYPE_CHECKING:
    from lbench.data.cache_files import CacheFile

names_argument = click.argument(
    "names",
    nargs=-1,
    metavar="[DATASET]...",
    shell_complete=lambda ctx, parameter, incomplete: completed("datasets", incomplete),
)


@click.group(epilog="Example: lbench data status mnist")
def command() -> None:
    """Show which datasets are available, decode them in advance, or remove what was decoded."""


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
    click.echo(f"\n{_cache_summary()}")
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
@cache_limit_option
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


@command.command(epilog="Example: lbench data clear cifar10 --yes")
@names_argument
@click.option("--yes", is_flag=True, help="Remove the files without asking.")
@json_option
def clear(names: tuple[str, ...], yes: bool, as_json: bool) -> int | None:
    """Remove decoded data from the cache; the datasets themselves stay where they are.

    Without a DATASET, remove all. Files that a running process uses stay, and the exit code is
    then 1. Removed data is decoded again when a run needs it.
    """
    from lbench.data.cache import directory
    from lbench.data.cache_files import cache_files

    files = cache_files(directory())
    known = dict.fromkeys([*registry().datasets, *(file.dataset for file in files)])
    for name in names:
        if name not in known:
            raise unknown("dataset", name, known, listing="For all: lbench data status")
    files = [file for file in files if not names or file.dataset in names]
    if files:
        _ask(files, yes, as_json)
    rows = [
        {
            "dataset": file.dataset,
            "path": printable(str(file.path)),
            "bytes": file.size,
            "last_use": file.used,
            "removed": file.remove(),
        }
        for file in files
    ]
    if as_json:
        print_json(rows)
    else:
        _show_removed(rows, names)
    return None if all(row["removed"] for row in rows) else 1


def _ask(files: list[CacheFile], yes: bool, as_json: bool) -> None:
    from lbench.data.cache_files import readable

    if not as_json:
        Table(
            "",
            ["dataset", "size", "last used"],
            [[file.dataset, readable(file.size), file.last_use] for file in files],
            right=[1],
        ).print()
    if yes:
        return
    what = f"{counted(len(files), 'decoded file')}, {readable(sum(f.size for f in files))}"
    if not sys.stdin.isatty():
        raise UsageError(
            f"Removing {what}, needs a confirmation.", "Give --yes to remove without asking."
        )
    click.confirm(f"Remove {what}?", abort=True, err=True)


def _show_removed(rows: list[dict[str, Any]], names: tuple[str, ...]) -> None:
    from lbench.data.cache import directory
    from lbench.data.cache_files import readable

    if not rows:
        of = f" of {', '.join(names)}" if names else ""
        click.echo(f"There is no decoded data{of} in {printable(str(directory()))}.")
        return
    removed = [row["bytes"] for row in rows if row["removed"]]
    click.echo(f"Removed {counted(len(removed), 'file')}: {readable(sum(removed))} are free.")
    for row in rows:
        if not row["removed"]:
            click.echo(f"{row['dataset']}: {row['path']} stays, because a process uses it.")


def _cache_summary() -> str:
    from lbench.data.cache import directory
    from lbench.data.cache_files import cache_files, limit, readable

    files, allowed = cache_files(directory()), limit()
    size = readable(sum(file.size for file in files))
    most = "" if allowed is None else f" of at most {readable(allowed)}"
    where = printable(str(directory()))
    return f"{counted(len(files), 'decoded file')}, {size}{most}, in {where}"


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
