"""Options, arguments and output that several commands share."""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from lbench.api.progress import say
from lbench.errors import StoreError
from lbench.home import Home
from lbench.registry import registry

__all__ = [
    "TIME_OVER_CODE",
    "add_test_reads",
    "cache_limit_option",
    "data_dir_option",
    "data_option",
    "device_option",
    "home_option",
    "json_option",
    "loader_workers_option",
    "max_hours_option",
    "name_argument",
    "net_option",
    "number",
    "option_group",
    "plugin_option",
    "print_json",
    "skip_bad_option",
    "warn_left_out",
]  # fmt: skip

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
device_option = click.option(
    "--device",
    metavar="NAME",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda or cuda:1.",
)
TIME_OVER_CODE = 7
"""Exit code of a command that stopped because the time of ``--max-hours`` is over."""


def number(ctx: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Return the value of an option; refuse ``nan``, which is in no range and outside of none."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("it must be a number.", ctx, parameter)
    return value


max_hours_option = click.option(
    "--max-hours",
    callback=number,
    type=click.FloatRange(0, min_open=True),
    metavar="H",
    help="Stop at a checkpoint after this time, with exit code 7; the same command continues.",
)

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of the dataset's files. Default: LBENCH_DATA, else the cache.",
)


loader_workers_option: Callable[[Any], Any] = click.option(
    "--loader-workers",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Processes that decode streamed images of a run. Default: one per core of the run.",
)
skip_bad_option: Callable[[Any], Any] = click.option(
    "--skip-bad",
    is_flag=True,
    help="Leave out images that cannot be decoded; the option skip_bad of the dataset.",
)


def _settings(
    ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> dict[str, str]:
    if not value:
        return {}
    # Imported here because it imports torch.
    from lbench.training.cell import parse_settings

    return parse_settings(value, parameter.opts[0])


def _settings_option(flag: str, of: str) -> Callable[[Any], Any]:
    """Return an option that may be repeated, whose value is a dictionary."""
    return click.option(
        flag,
        multiple=True,
        metavar="NAME=VALUE",
        callback=_settings,
        help=f"An option of the {of}; may be repeated.",
    )


data_option = _settings_option("--data", "dataset")
net_option = _settings_option("--net", "network")


def _cache_limit(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    from lbench.data.cache_files import VARIABLE, parse_limit

    parse_limit(value, "--cache-limit")
    before = os.environ.get(VARIABLE)

    def restore() -> None:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before

    # Worker processes inherit the variable.
    os.environ[VARIABLE] = value
    ctx.call_on_close(restore)


cache_limit_option: Callable[[Any], Any] = click.option(
    "--cache-limit",
    metavar="SIZE",
    callback=_cache_limit,
    expose_value=False,
    help="Largest size of all decoded datasets together, such as 500MB, or none; those that were "
    "used longest ago are removed. Default: LBENCH_CACHE_LIMIT, else 20GB.",
)


def _home(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Home:
    return Home.at(value)


home_option: Callable[[Any], Any] = click.option(
    "--home",
    type=click.Path(path_type=Path),
    callback=_home,
    help="Directory of runs and their store. Default: LBENCH_HOME, else ./lbench-runs.",
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
    # Processed before the other options, which may name rules of the file.
    is_eager=True,
    expose_value=False,
    help="Also use the rules of this file, which is not installed; may be repeated.",
)


def option_group(command: Any, options: Sequence[Callable[[Any], Any]], name: str) -> Any:
    """Add options to a command, which receives their values as one mapping by parameter name.

    Args:
        command: the function of a click command.
        options: decorators, as ``click.option`` returns them.
        name: name of the command's parameter for the mapping.
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
    """Print one JSON document on standard output."""
    click.echo(json.dumps(content, indent=1, allow_nan=False))


def name_argument(kind: str) -> Callable[[Any], Any]:
    """Return an optional argument NAME for an entry of the registry.

    The shell completes it without loading the entries.

    Args:
        kind: ``rules``, ``networks``, ``datasets``, ``studies`` or ``probes``.
    """

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        return completed(kind, incomplete)

    return click.argument("name", required=False, shell_complete=complete)


def completed(kind: str, incomplete: str) -> list[str]:
    """Return the names of a kind that begin like this; sequences of tasks if no other name does."""
    own = [name for name in registry().entries(kind) if name.startswith(incomplete)]
    return own or [name for name in registry().names(kind) if name.startswith(incomplete)]


def warn_left_out() -> None:
    """Report on standard error, below a listing, which plugins it lacks."""
    if broken := [plugin.name for plugin in registry().plugins if plugin.error]:
        say(f"Left out: {', '.join(broken)}. The reasons: lbench plugins\n")


def add_test_reads(states: Iterable[dict[str, Any]], home: Home) -> None:
    """Add ``test_reads`` to the states of datasets: how often runs of the home read the test set.

    The value is None where the home has no store or the dataset is not decoded yet. If the store
    cannot be read, a warning on standard error says so.
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

        with read_access(home) as readable, Record.open(readable) as record:
            return record.test_reads()
    except ModuleNotFoundError:
        return None
    except StoreError as error:
        say(f"{error.message}\n", fg="yellow")
        return None
