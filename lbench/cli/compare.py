"""``lbench compare``: cells side by side; without cells, what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbench.api.progress import say
from lbench.cli.common import home_option, json_option, print_json
from lbench.home import Home

if TYPE_CHECKING:
    from lbench.report.compare import Pairs


@click.command(epilog="Example: lbench compare bp/digits lfnn_l/digits")
@click.argument("cells", nargs=-1, metavar="[CELL]...")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print markdown instead of a table.")
@json_option
@home_option
def command(cells: tuple[str, ...], as_markdown: bool, as_json: bool, home: Home) -> None:
    """Compare cells by any beginning of their ids that means one; without any, list them.

    The others are held against the first: differences are paired over common seeds and
    over test examples, and everything that is not equal is named.
    """
    if as_markdown and as_json:
        raise click.UsageError("--markdown and --json are two ways to print; give one of them.")
    if not cells:
        _list(home, as_json)
        return
    from lbench.report import render
    from lbench.report.compare import compare

    found = compare(_pairs(home, cells))
    if as_json:
        print_json(found.as_dict())
    elif as_markdown:
        click.echo(render.to_markdown(found))
    else:
        render.show(found)


def _pairs(home: Home, cells: tuple[str, ...] = ()) -> Pairs:
    from lbench.api.comparison import pairs

    return pairs(home, cells, lambda text: say(f"{text}\n", fg="yellow"))


def _list(home: Home, as_json: bool) -> None:
    from lbench.report.compare import rows
    from lbench.report.render import listing

    found = _pairs(home)
    if as_json:
        print_json([line.as_dict() for line in rows(found)])
        return
    if not found:
        click.echo(f"No cells in {home.root}. Make one: lbench run --rule bp --dataset digits")
        return
    listing(found).print()
