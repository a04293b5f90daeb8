"""``lbench.rules`` and ``lbench.datasets``: the installed rules and datasets, by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbench.api.training import with_plugin

if TYPE_CHECKING:
    import pandas as pd

    from lbench.output.table import Table


class Listing:
    """The names of rules or datasets, each with the fields of its entry.

    Iteration is over the names: ``"bp" in lbench.rules()``, ``list(lbench.rules())``.

    Args:
        kind: ``rules`` or ``datasets``.
        rows: one object per name; ``name`` is the first value of each.
    """

    def __init__(self, kind: str, rows: list[dict[str, Any]]) -> None:
        self.kind = kind
        self.rows = rows

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return (row["name"] for row in self.rows)

    def __contains__(self, name: object) -> bool:
        """Return whether the listing has this name."""
        return any(row["name"] == name for row in self.rows)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self.rows)

    def __getitem__(self, name: str) -> dict[str, Any]:
        """Return the row of a name.

        Raises:
            KeyError: the listing does not have this name.
        """
        for row in self.rows:
            if row["name"] == name:
                return row
        raise KeyError(name)

    def table(self) -> Table:
        """Return the listing as a table."""
        from lbench.output.table import Table

        columns = list(self.rows[0]) if self.rows else ["name"]
        return Table("", columns, [[str(value) for value in row.values()] for row in self.rows])

    def frame(self) -> pd.DataFrame:
        """Return the listing as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def __repr__(self) -> str:
        """Return the kind and the names."""
        return f"<{len(self)} {self.kind}: {', '.join(self)}>"

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def rules(plugin: str | Path | None = None) -> Listing:
    """Return the rules: name, title, paper and plugin.

    Args:
        plugin: a file with rules that are not installed.
    """
    return _listing("rules", ("title", "paper"), plugin)


def datasets() -> Listing:
    """Return the datasets: name, title, default network and plugin."""
    return _listing("datasets", ("title", "network"))


def _listing(kind: str, columns: tuple[str, ...], plugin: str | Path | None = None) -> Listing:
    known = with_plugin(plugin)
    rows = [
        {
            "name": name,
            **{column: getattr(entry, column) for column in columns},
            "plugin": known.owner(kind, name),
        }
        for name, entry in known.entries(kind).items()
    ]
    return Listing(kind, rows)
