"""``lbench plugins``: list the plugins with their entries, and why some are left out."""

from __future__ import annotations

from dataclasses import asdict

import click

from lbench.cli.common import json_option, plugin_option, print_json
from lbench.output.table import Table
from lbench.registry import Plugin, registry


@click.command(epilog="Example: lbench plugins --json")
@plugin_option
@json_option
def command(as_json: bool) -> None:
    """List the plugins with what they bring, and the reasons why some are left out."""
    plugins = registry().plugins
    if as_json:
        print_json([asdict(plugin) for plugin in plugins])
        return
    Table(
        "",
        ["plugin", "distribution", "version", "brings"],
        [
            [p.name, p.distribution, p.version, "left out" if p.error else _brings(p)]
            for p in plugins
        ],
    ).print()
    for plugin in plugins:
        if plugin.error:
            click.secho(f"{plugin.name} ({plugin.module}) was left out. {plugin.error}", fg="red")


def _brings(plugin: Plugin) -> str:
    return "; ".join(
        f"{kind}: {', '.join(names)}" for kind, names in plugin.brings.items() if names
    )
