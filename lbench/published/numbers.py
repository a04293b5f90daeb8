"""Numbers from papers, which tables and figures show apart from measured ones."""

from __future__ import annotations

import csv
import math
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lbench.registry import registry

COLUMNS = (
    "rule", "dataset", "network", "same_network", "augmentation", "setting", "selected",
    "test_error", "train_error", "source", "origin", "note",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Published:
    """A number as printed in a paper or a repository.

    Args:
        rule: the name of the rule in lbench.
        dataset: the name of the dataset in lbench.
        network: the published network, with its parameter count.
        same_network: the network of lbench with the same layers and sizes, as ``--network`` and
            ``--net`` take it; "no", or "not stated".
        augmentation: of the training images; "none", or "not stated".
        setting: options that the number belongs to, ``leadership=0.7, worker_size=10``; else "".
        selected: how the epoch or the setting was chosen: "validation split of 5,000", "test
            set", "not stated".
        test_error: percent.
        train_error: percent; None when not published.
        source: authors, year, where to find it, and the table.
        origin: who made the runs: "own runs", "copied from …", "re-implementation by others".
        note: what else a reader must know before comparing; else "".
    """

    rule: str
    dataset: str
    network: str
    same_network: str
    augmentation: str
    setting: str
    selected: str
    test_error: float
    train_error: float | None
    source: str
    origin: str
    note: str

    def as_dict(self) -> dict[str, Any]:
        """Return every field by name."""
        return asdict(self)

    def agrees(self, config: Mapping[str, Any]) -> bool:
        """Return whether every option of the setting has that value in ``config``."""
        for part in filter(None, (part.strip() for part in self.setting.split(","))):
            name, _, value = part.partition("=")
            if name not in config or not _same(config[name], value):
                return False
        return True


def published(
    rule: str, dataset: str | None = None, config: Mapping[str, Any] | None = None
) -> list[Published]:
    """Return the published numbers of a rule.

    Args:
        rule: its name.
        dataset: those on this dataset; None for all.
        config: those whose setting is empty or agrees with these options; None for all.

    Returns:
        The numbers by dataset, lowest test error first; rows that are equal in network, setting
        and test error appear once.
    """
    rows: dict[tuple[str, str, str, float], Published] = {}
    for row in load():
        if row.rule != rule or (dataset is not None and row.dataset != dataset):
            continue
        if config is None or row.agrees(config):
            # With options given, two settings that agree with them are equal.
            setting = row.setting if config is None else ""
            rows.setdefault((row.dataset, row.network, setting, row.test_error), row)
    return sorted(rows.values(), key=lambda row: (row.dataset, row.test_error))


def published_curves(rule: str, dataset: str, setting: str) -> dict[str, dict[float, Published]]:
    """Return published numbers that differ in one setting alone, in order of its values.

    Args:
        rule: name of the rule.
        dataset: name of the dataset.
        setting: the setting, a number.

    Returns:
        The numbers by value, by network and source; at least three of each source.
    """
    curves: dict[str, dict[float, Published]] = {}
    for row in load():
        match = re.fullmatch(rf"{re.escape(setting)}=([\d.]+)", row.setting)
        if match and (row.rule, row.dataset) == (rule, dataset):
            curves.setdefault(f"{row.network}; {row.source}", {})[float(match[1])] = row
    return {name: dict(sorted(c.items())) for name, c in curves.items() if len(c) > 2}


def load() -> list[Published]:
    """Return the rows of all plugins; a file that cannot be read is left out with a warning."""
    rows: list[Published] = []
    for entry in registry().published.values():
        try:
            rows += read(entry.path)
        except (OSError, ValueError) as error:
            warnings.warn(f"Published numbers {entry.name!r} were left out: {error}", stacklevel=2)
    return rows


def read(path: Path) -> list[Published]:
    """Return the rows of a CSV file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it has other columns, or a field is not a number; names the line.
    """
    with path.open(newline="", encoding="utf-8") as file:
        return list(_rows(path, csv.DictReader(file, strict=True)))


def _rows(path: Path, reader: csv.DictReader[str]) -> Iterable[Published]:
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise ValueError(f"{path} must have the columns {','.join(COLUMNS)}.")
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if None in row or None in row.values():
            raise ValueError(f"{where}: it must have {len(COLUMNS)} fields.")
        test, train = row.pop("test_error"), row.pop("train_error")
        yield Published(
            test_error=_percent(test, where),
            train_error=_percent(train, where) if train else None,
            **row,
        )


def _percent(text: str, where: str) -> float:
    value = float(text) if text.replace(".", "", 1).isdigit() else math.nan
    if not 0 <= value <= 100:
        raise ValueError(f"{where}: an error must be from 0 to 100 percent, but got {text!r}.")
    return value


def _same(value: Any, text: str) -> bool:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return math.isclose(value, float(text), abs_tol=1e-9)
        except ValueError:
            return False
    return str(value).lower() == text.lower()
