"""``lbench probes``: list the probes, or show the columns of one."""

from __future__ import annotations

import inspect
from typing import Any

import click

from lbench.cli.common import (
    json_option,
    name_argument,
    plugin_option,
    print_json,
    warn_left_out,
)
from lbench.containment import contained
from lbench.hooks import ProbeEntry
from lbench.output.table import Table
from lbench.output.terminal import paragraph
from lbench.registry import registry


@click.command(epilog="Example: lbench probes online")
@name_argument("probes")
@plugin_option
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the probes, or show what one measures and the columns of its table."""
    if name is not None:
        content = describe(name)
        if as_json:
            print_json(content)
        else:
            _show(content)
        return
    rows = [_row(entry) for entry in registry().probes.values()]
    if as_json:
        print_json(rows)
    else:
        columns = ["probe", "what it measures", "plugin"]
        Table("", columns, [list(row.values()) for row in rows]).print()
    warn_left_out()


@contained()
def describe(name: str) -> dict[str, Any]:
    """Return the object that ``lbench probes NAME --json`` prints.

    Raises:
        UsageError: no plugin has this probe.
        PluginError: the probe's class cannot be loaded.
    """
    cls = registry().load("probes", name)
    from lbench.probe import ALWAYS

    columns = {**ALWAYS, **cls.columns}
    return {
        **_row(registry().find("probes", name)),
        "summary": inspect.cleandoc(cls.__doc__ or ""),
        "columns": [
            {"name": column_name, "kind": column.kind, "title": column.title}
            for column_name, column in columns.items()
        ],
    }


def _row(entry: ProbeEntry) -> dict[str, str]:
    owner = registry().owner("probes", entry.name)
    return {"name": entry.name, "title": entry.title, "plugin": owner}


def _show(content: dict[str, Any]) -> None:
    click.echo(f"{content['name']}: {content['title']} (plugin {content['plugin']})\n")
    if content["summary"]:
        click.echo(paragraph(content["summary"], preserve=True) + "\n")
    rows = [[column["name"], column["kind"], column["title"]] for column in content["columns"]]
    Table("", ["column", "kind", "what it holds"], rows).print()
    click.echo(f"Record it with: lbench run --rule … --dataset … --probe {content['name']}")
