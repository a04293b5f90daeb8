"""``lbench compare``: configurations side by side, or a list of those of the home."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from lbench.api.progress import Notifier
from lbench.cli.common import home_option, json_option, print_json
from lbench.home import Home

if TYPE_CHECKING:
    from lbench.store.rows import Pairs


@click.command(epilog="Example: lbench compare bp/digits lfnn_l/digits")
@click.argument("cells", nargs=-1, metavar="[CELL]...")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print markdown instead of a table.")
@json_option
@home_option
def command(cells: tuple[str, ...], as_markdown: bool, as_json: bool, home: Home) -> None:
    """Compare configurations with the first one; without a CELL, list all of the home.

    A CELL is the id of a configuration (rule, options, network, data, budget), or the beginning
    of an id that no other configuration has. Differences are paired over common seeds and over
    test examples. Notes name every setting in which the configurations differ.
    """
    if as_markdown and as_json:
        raise click.UsageError("--markdown and --json are two ways to print; give one of them.")
    if not cells:
        _list(home, as_json)
        return
    from lbench.report import render
    from lbench.report.compare.comparison import compare

    comparison = compare(_pairs(home, cells))
    if as_json:
        print_json(comparison.as_dict())
    elif as_markdown:
        click.echo(render.to_markdown(comparison))
    else:
        render.show(comparison)


def _pairs(home: Home, cells: tuple[str, ...] = ()) -> Pairs:
    from lbench.api.comparison import pairs

    return pairs(home, cells, partial(Notifier(), fg="yellow"))


def _list(home: Home, as_json: bool) -> None:
    from lbench.report.compare.row import rows
    from lbench.report.render import listing

    pairs = _pairs(home)
    if as_json:
        print_json([row.as_dict() for row in rows(pairs)])
        return
    if not pairs:
        click.echo(
            f"There are no runs in {home.root}. Train one: lbench run --rule bp --dataset digits"
        )
        return
    listing(pairs).print()
