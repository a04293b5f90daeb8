"""docs/probes.md has every probe with the columns of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from lbench.cli.main import cli
from lbench.probe import ALWAYS
from lbench.registry import registry

PAGE = (Path(__file__).parents[2] / "docs" / "probes.md").read_text()
SECTIONS = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", PAGE, flags=re.DOTALL | re.MULTILINE))
PROBES = list(registry().probes)


def test_every_probe_has_its_section_and_no_other() -> None:
    assert sorted(SECTIONS) == sorted(PROBES)


@pytest.mark.parametrize("name", PROBES)
def test_a_section_has_title_columns_and_a_command(name: str) -> None:
    section, cls = SECTIONS[name], registry().load("probes", name)
    assert registry().find("probes", name).title in section
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", section, flags=re.MULTILINE)
    assert rows == [(name, column.kind, column.title) for name, column in cls.columns.items()]
    assert ALWAYS.keys().isdisjoint(cls.columns)
    assert cls.__doc__
    assert f"--probe {name}" in section


@pytest.mark.parametrize("command", re.findall(r"^\$ (lbench .*?)(?:  .*)?$", PAGE, re.MULTILINE))
def test_the_commands_of_the_page_name_existing_plugins(command: str) -> None:
    _, first, *rest = shlex.split(command)
    group, known = cli, registry()
    context = click.Context(group)
    subcommand = group.get_command(context, first)
    assert subcommand is not None
    options = subcommand.make_context(first, rest).params
    for name, kind in (("rule", "rules"), ("dataset", "datasets"), ("network", "networks")):
        if options.get(name) is not None:
            known.find(kind, options[name])
    for probe in options.get("probes", ()):
        known.find("probes", probe)
