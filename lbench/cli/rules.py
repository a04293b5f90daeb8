"""``lbench rules``: list the rules, or show claims, options and published numbers of one."""

from __future__ import annotations

import inspect
from typing import Any

import click

from lbench.audit_pages.words import WORDS, say
from lbench.claims import Claims
from lbench.cli.common import (
    json_option,
    name_argument,
    plugin_option,
    print_json,
    warn_left_out,
)
from lbench.containment import contained
from lbench.errors import LbenchError
from lbench.hooks import RuleEntry
from lbench.output.table import Table, text
from lbench.output.terminal import paragraph
from lbench.per_block import row_text
from lbench.registry import registry


@click.command(epilog="Example: lbench rules bp")
@name_argument("rules")
@plugin_option
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the rules, or show one: its claims, options and published numbers."""
    if name is None:
        rows = [_row(entry) for entry in registry().rules.values()]
        if as_json:
            print_json(rows)
        else:
            columns = ["rule", "what it does", "paper", "plugin"]
            Table("", columns, [list(row.values()) for row in rows]).print()
        warn_left_out()
        return
    content = describe(name)
    if as_json:
        print_json(content)
    else:
        _show(content)


@contained()
def describe(name: str) -> dict[str, Any]:
    """Return the object that ``lbench rules NAME --json`` prints.

    It has the published numbers of all settings, not only those of the default options.

    Raises:
        UsageError: no plugin has this rule.
        PluginError: the rule's class cannot be loaded.
    """
    from lbench.published.numbers import published

    entry: RuleEntry = registry().find("rules", name)
    cls = registry().load("rules", name)
    summary = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    return {
        **_row(entry),
        "summary": summary,
        "claims": _claims(cls),
        "options": cls.Config.table(),
        "published": [row.as_dict() for row in published(name)],
    }


def _row(entry: RuleEntry) -> dict[str, str]:
    owner = registry().owner("rules", entry.name)
    return {"name": entry.name, "title": entry.title, "paper": entry.paper, "plugin": owner}


def _claims(cls: Any) -> dict[str, Any]:
    """Return a rule's claims with its default options on the reference dataset's network."""
    from lbench.cli.networks import build, shape_of
    from lbench.task import Task
    from lbench.training.option_effects import OptionEffects

    dataset = registry().reference("datasets")
    network = registry().find("datasets", dataset).network
    config = cls.Config()
    try:
        built = build(network, dataset)
        claims = cls.claims(config, built).as_dict()
        effects = OptionEffects(cls, built, Task(dataset, *shape_of(dataset)))
        per_block = effects.per_block(config)
    except LbenchError as error:
        return {"network": network, "error": error.message}
    return {"network": network, **claims, "per_block": per_block}


def _show(content: dict[str, Any]) -> None:
    from lbench.published.citations import print_published
    from lbench.published.numbers import Published

    click.echo(f"{content['name']}: {content['title']} (plugin {content['plugin']})")
    click.echo(f"{content['paper']}\n")
    if content["summary"]:
        click.echo(paragraph(content["summary"]) + "\n")

    claims = content["claims"]
    click.echo(f"Claims on {claims['network']}, with default options:")
    if "error" in claims:
        click.echo(f"  {claims['error']}")
    else:
        for claim in Claims().as_dict():
            click.echo(f"  {WORDS[claim]:18}{say(claims[claim])}")
        for name, row in claims["per_block"].items():
            click.echo(f"  {name + ' per block':18}{row_text(row)}")

    if content["options"]:
        rows = [[o["name"], text(o["default"]), o["values"], o["help"]] for o in content["options"]]
        columns = ["option", "default", "what it may be", "meaning"]
        Table("\nOptions (--set)", columns, rows).print()
    else:
        click.echo("\nNo options.")

    defaults = {option["name"]: option["default"] for option in content["options"]}
    numbers = [Published(**row) for row in content["published"]]
    at_defaults = [row for row in numbers if row.agrees(defaults)]
    print_published(at_defaults)
    if others := len(numbers) - len(at_defaults):
        click.echo(f"{others} more with other options: lbench rules {content['name']} --json")
