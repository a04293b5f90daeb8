"""``lbench new``: a package with a small rule, dataset, network or probe to start from."""

from __future__ import annotations

import ast
import importlib.resources
import importlib.util
import keyword
import re
import shlex
from pathlib import Path
from string import Template
from typing import NamedTuple

import click

from lbench.cli.common import json_option, print_json
from lbench.errors import UsageError
from lbench.plugin_file import snake
from lbench.registry import registry

RESERVED = {"all": "lbench check"} | {word.lower(): "Python" for word in keyword.kwlist}


class Scaffold(NamedTuple):
    """What is written for a kind of plugin.

    Args:
        title: one line that describes the example.
        paper: the source of the example; "" for none.
        template: name of the template of its module.
        content: what the module has.
        check: a command that shows or checks the result.
        run: a command that uses it; ``{name}`` stands for the name.
    """

    title: str
    paper: str
    template: str
    content: str
    check: str
    run: str


EQUATIONS = "equations, options, claims"
RUN_RULE = "lbench run --rule {name} --dataset digits"
BASES = {
    "local": Scaffold(
        "Each block learns from a linear classifier of its own",
        "Nøkland & Eidnes 2019, arXiv:1901.06656",
        "local", EQUATIONS, "lbench check {name}", RUN_RULE,
    ),
    "gradient": Scaffold(
        "A linear classifier behind each block helps the output loss",
        "Lee et al. 2015, arXiv:1409.5185",
        "gradient", EQUATIONS, "lbench check {name}", RUN_RULE,
    ),
}  # fmt: skip
"""Rules by their base class."""
SCAFFOLDS = {
    "rule": BASES["local"],
    "dataset": Scaffold(
        "Stripes in four directions", "", "dataset", "options, and how files are found and read",
        "lbench check --dataset {name}", "lbench run --rule bp --dataset {name}",
    ),
    "network": Scaffold(
        "Convolutions with shortcuts", "", "network", "options, the module, and its blocks",
        "lbench check --network {name}", "lbench run --rule bp --dataset digits --network {name}",
    ),
    "probe": Scaffold(
        "Share of zero activations of each block", "", "probe", "columns and the measurement",
        "lbench check --probe {name}", "lbench run --rule bp --dataset digits --probe {name}",
    ),
}  # fmt: skip


@click.command("new", epilog="Example: lbench new rule my_rule --base gradient")
@click.argument("kind", type=click.Choice(list(SCAFFOLDS)))
@click.argument("name")
@click.option(
    "--dir",
    "parent",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Directory in which the new folder is made; by default the current one.",
)
@click.option(
    "--base",
    type=click.Choice(list(BASES)),
    help="Base class of a rule: local trains block by block, gradient the whole network.",
)
@json_option
def command(kind: str, name: str, parent: Path, base: str | None, as_json: bool) -> None:
    """Write a package with a small rule, dataset, network or probe that works and has tests.

    Replace its code by yours.
    """
    if base is not None and kind != "rule":
        raise UsageError(f"--base belongs to rules, not to a {kind}.", "Leave --base out.")
    check(kind, name)
    folder = parent / f"lbench-{kind}-{name.replace('_', '-')}"
    if folder.exists():
        raise UsageError(
            f"{folder} is there already, and nothing is written over.",
            "Give another NAME or --dir, or remove it.",
        )
    scaffold = SCAFFOLDS[kind] if base is None else BASES[base]
    files = contents(kind, name, scaffold)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    commands = [
        f'cd {shlex.quote(str(folder))} && python -m pip install -e ".[test]"',
        "python -m pytest",
        scaffold.run.format(name=name),
    ]
    if as_json:
        print_json(
            {"kind": kind, "name": name, "folder": str(folder), "files": list(files),
             "next": commands}
        )  # fmt: skip
        return
    click.echo(f"Wrote {kind} {name} into {folder}:")
    for path in files:
        click.echo(f"  {path}")
    click.echo("\nNext:")
    for line in commands:
        click.echo(f"  {line}")


def check(kind: str, name: str) -> None:
    """Check that a new rule, dataset, network or probe can have this name.

    Raises:
        UsageError: it cannot.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        better = re.sub(r"[^a-z0-9]+", "_", snake(name)).strip("_0123456789")
        raise UsageError(
            f"The name of a {kind} has small letters, digits and underscores, but got {name!r}.",
            f"Try: lbench new {kind} {better or f'my_{kind}'}",
        )
    if name in RESERVED:
        raise UsageError(
            f"{name!r} is a word of {RESERVED[name]}.", f"Try: lbench new {kind} my_{name}"
        )
    known, kinds = registry(), f"{kind}s"
    if name in known.entries(kinds):
        raise UsageError(
            f"{kind.capitalize()} {name!r} is taken by plugin {known.owner(kinds, name)!r}.",
            f"See all names with: lbench {kinds}",
        )
    package = f"lbench_{kind}_{name}"
    if importlib.util.find_spec(package) is not None:
        raise UsageError(
            f"A package {package} is installed already.",
            f"Give another NAME, or: python -m pip uninstall {package.replace('_', '-')}",
        )


def contents(kind: str, name: str, scaffold: Scaffold) -> dict[str, str]:
    """Return the new files by their path in the folder.

    Raises:
        UsageError: the new class would have the name of something else in a file.
    """
    package = f"lbench_{kind}_{name}"
    values = {
        "name": name,
        "package": package,
        "distribution": package.replace("_", "-"),
        "cls": "".join(word.capitalize() for word in name.split("_")),
        "kind": kind,
        **{field: text.format(name=name) for field, text in scaffold._asdict().items()},
    }
    templates = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{package}/__init__.py": f"hooks_{kind}.py",
        f"{package}/{name}.py": f"{scaffold.template}.py",
        f"tests/test_{name}.py": f"test_{scaffold.template}.py",
    }
    folder = importlib.resources.files("lbench") / "templates"
    texts = {
        path: Template((folder / f"{template}.template").read_text("utf-8"))
        for path, template in templates.items()
    }
    files = {path: text.substitute(values) for path, text in texts.items()}
    for path, text in texts.items():
        if path.endswith(".py") and values["cls"] in _names(text.substitute(values, cls="_")):
            raise UsageError(
                f"A {kind} {name!r} would have a class {values['cls']}, which is a name of lbench.",
                f"Try: lbench new {kind} my_{name}",
            )
    return files


def _names(text: str) -> set[str]:
    """Return the names that a source imports, and those of its classes."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef):
            names.add(node.name)
    return names
