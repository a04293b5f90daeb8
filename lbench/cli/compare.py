"""``lbench compare``: cells side by side; without cells, what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbench.cli.common import home_option, json_option, print_json, print_table
from lbench.cli.progress import say
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
    from lbench.errors import UsageError
    from lbench.store.missing import check_store, no_record, unrecorded
    from lbench.store.readable import readable
    from lbench.store.record import Record

    check_store(home)
    if not home.has_store():
        if not cells:
            return []
        raise UsageError(
            f"There are no cells in {home.root}, so none is called {cells[0]!r}.",
            "Give --home where your runs lie, or make one: lbench run --rule bp --dataset digits",
        )
    with readable(home) as at_hand, Record.open(at_hand) as record:
        if lacking := record.unrecorded():
            if record.empty():
                raise no_record(home, len(lacking))
            say(f"{unrecorded(home, len(lacking))}\n", fg="yellow")
        rows = [record.cell(prefix) for prefix in cells] if cells else record.cells()
        twice = [row.cell_id for row in rows if rows.count(row) > 1]
        if twice:
            raise UsageError(f"{twice[0]} was given twice.", "Give each cell once.")
        return [(row, record.runs(row)) for row in rows]


def _list(home: Home, as_json: bool) -> None:
    from lbench.report.audit import short
    from lbench.report.compare import rows
    from lbench.report.render import SAMPLING, error, unfinished
    from lbench.report.table import of, print_notes

    lines = rows(_pairs(home))
    if as_json:
        print_json([line.as_dict() for line in lines])
        return
    if not lines:
        click.echo(f"No cells in {home.root}. Make one: lbench run --rule bp --dataset digits")
        return
    print_table(
        ["cell", "seeds", "test error %", "audit", "not finished"],
        [
            [
                r.cell.cell_id,
                of(len(r.errors), len(r.errors) + len(r.unfinished)),
                error(r.test, r.sampling),
                short(r.audit, r.contradictions),
                unfinished(r),
            ]
            for r in lines
        ],
        right=[1, 2],
        red=[at for at, line in enumerate(lines) if line.contradictions],
    )
    if any(line.sampling for line in lines):
        print_notes([SAMPLING])
