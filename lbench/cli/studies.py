"""``lbench studies``: list the installed studies, or show one."""

from __future__ import annotations

from typing import Any

import click

from lbench.cli.common import (
    json_option,
    name_argument,
    plugin_option,
    print_json,
    warn_left_out,
)
from lbench.hooks import StudyEntry
from lbench.output.table import Table
from lbench.output.terminal import paragraph
from lbench.registry import registry


@click.command(epilog="Example: lbench studies")
@name_argument("studies")
@plugin_option
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the studies, or show the question and the settings of one."""
    known = registry()
    if name is not None:
        entry: StudyEntry = known.find("studies", name)
        content = {**_row(entry), **_content(entry)}
        if as_json:
            print_json(content)
        else:
            _show(content)
        return
    rows = [_row(entry) for entry in known.studies.values()]
    if as_json:
        print_json(rows)
    else:
        shown = [[row["name"], row["title"], row["plugin"]] for row in rows]
        Table("", ["name", "title", "plugin"], shown).print()
        click.echo("Show one: lbench studies NAME. Run one: lbench study NAME")
    warn_left_out()


def _row(entry: StudyEntry) -> dict[str, str]:
    return {
        "name": entry.name,
        "title": entry.title,
        "path": str(entry.path),
        "plugin": registry().owner("studies", entry.name),
    }


def _content(entry: StudyEntry) -> dict[str, Any]:
    """Return the question and the settings in a study's file."""
    from lbench.studies.study_file import read_study

    study = read_study(entry.path, entry.name)
    content: dict[str, Any] = {
        "question": study.question,
        "published": study.published,
        "datasets": list(study.datasets),
        "networks": list(study.networks),
        "rules": list(dict.fromkeys(arm.rule for arm in study.arms)),
        "axes": {name: list(values) for arm in study.arms for name, values in arm.axes.items()},
        "protocol": study.protocol,
        "seeds": study.seeds,
        "trials": None,
        "sampler": None,
        "margin": study.margin,
    }
    if study.search is not None:
        content |= {"trials": study.search.trials, "sampler": study.search.sampler}
    return content


def _show(content: dict[str, Any]) -> None:
    click.echo(f"{content['name']}: {content['title']}\n")
    click.echo(paragraph(content["question"]))
    click.echo()
    for name, value in content.items():
        if name in ("name", "title", "question") or value in (None, "", [], {}):
            continue
        if isinstance(value, dict):
            value = "; ".join(f"{axis} = {_values(values)}" for axis, values in value.items())
        text = _values(value) if isinstance(value, list) else str(value)
        click.echo(paragraph(f"{name:<10} {text}", indent=" " * 11))
    click.echo(f"\nRun it: lbench study {content['name']}")


def _values(values: list[Any]) -> str:
    return ", ".join(str(value) for value in values)
