"""What several commands share: options, names and printing."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from lbench.api.progress import say
from lbench.errors import StoreError
from lbench.home import Home
from lbench.registry import registry

__all__ = [
    "add_test_reads", "data_dir_option", "data_option", "gathered", "home_option", "json_option",
    "name_argument", "plugin_option", "print_json", "warn_left_out",
]  # fmt: skip

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the dataset's files lie (else LBENCH_DATA, else the cache).",
)


def _settings(
    ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> dict[str, str]:
    if not value:
        return {}
    # Imported when it is needed: it brings torch.
    from lbench.training.cell import parse_settings

    return parse_settings(value, "--data")


data_option: Callable[[Any], Any] = click.option(
    "--data",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_settings,
    help="An option of the dataset.",
)


def _home(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Home:
    return Home.at(value)


home_option: Callable[[Any], Any] = click.option(
    "--home",
    type=click.Path(path_type=Path),
    callback=_home,
    help="Where runs and the store lie (else LBENCH_HOME, else ./lbench-runs).",
)


def _plugins(ctx: click.Context, parameter: click.Parameter, files: tuple[Path, ...]) -> None:
    for file in files:
        registry().add_file(file)


plugin_option: Callable[[Any], Any] = click.option(
    "--plugin",
    multiple=True,
    metavar="FILE.py",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    callback=_plugins,
    # Before every other option: these may be names that the file brings.
    is_eager=True,
    expose_value=False,
    help="Also take the rules of this file, which need not be installed; may be repeated.",
)


def gathered(command: Any, options: Sequence[Callable[[Any], Any]], name: str) -> Any:
    """Add options to a command, which gets their values as one mapping by parameter names.

    Args:
        command: a function that a click command is made of.
        options: decorators, as ``click.option`` returns them.
        name: of the command's parameter for the mapping.
    """

    @functools.wraps(command)
    def grouped(**values: Any) -> Any:
        own = {parameter: values.pop(parameter) for parameter in parameters}
        return command(**values, **{name: own})

    before = len(getattr(grouped, "__click_params__", []))
    for option in reversed(options):
        grouped = option(grouped)
    parameters = [p.name for p in grouped.__click_params__[before:]]  # type: ignore[attr-defined]
    return grouped


def print_json(content: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(content, indent=1, allow_nan=False))


def name_argument(kind: str) -> Callable[[Any], Any]:
    """An optional NAME of a rule, network, …, completed from the registry without loading it."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        return [name for name in registry().entries(kind) if name.startswith(incomplete)]

    return click.argument("name", required=False, shell_complete=complete)


def warn_left_out() -> None:
    """Says below a listing, on standard error, that plugins are missing from it."""
    if broken := [plugin.name for plugin in registry().plugins if plugin.error]:
        say(f"Left out: {', '.join(broken)}. Why: lbench plugins\n")


def add_test_reads(states: Iterable[dict[str, Any]], home: Home) -> None:
    """Adds ``test_reads`` to datasets' states: how often runs of the home read the test set.

    None without a store, and before it is decoded. A store that cannot be read is said on
    standard error: the datasets are shown all the same.
    """
    reads = _test_reads(home)
    for state in states:
        digest = state["digest"]
        state["test_reads"] = None if reads is None or digest is None else reads.get(digest, 0)


def _test_reads(home: Home) -> dict[str, int] | None:
    if not home.has_store():
        return None
    try:
        from lbench.store.read_access import read_access
        from lbench.store.record import Record

        with read_access(home) as at_hand, Record.open(at_hand) as record:
            return record.test_reads()
    except ModuleNotFoundError:
        return None
    except StoreError as error:
        say(f"{error.message}\n", fg="yellow")
        return None
