"""Checks of entries and of what they name, without importing lbench's own classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lbench.hooks import DatasetEntry, FigureEntry

BASES = {
    "rules": ("lbench.rule", "Rule"),
    "networks": ("lbench.networks.spec", "NetworkSpec"),
    "datasets": ("lbench.data.source", "Source"),
    "sequences": ("lbench.data.sequence", "TaskSequence"),
    "probes": ("lbench.probe", "Probe"),
}
"""Module and name of the base class of each kind; importing it may import PyTorch."""
TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "bool": bool,
    "Path": Path,
    "Mapping[str, Any]": Mapping,
    "int | None": (int, type(None)),
    "tuple[int, int, int] | None": (tuple, type(None)),
}
"""Types by the annotation of an entry's field."""


def entry_problem(entry: Any) -> str | None:
    """Return what is wrong with the fields of an entry; None if they are right."""
    for field in dataclasses.fields(entry):
        value, wanted = getattr(entry, field.name), TYPES[str(field.type)]
        if not isinstance(value, wanted):
            name = field.type if isinstance(wanted, tuple) else wanted.__name__
            return f"{field.name} is {value!r}, not a {name}"
    if not entry.name:
        return "name is empty"
    if isinstance(entry, FigureEntry) and ":" in entry.name:
        return f"name is {entry.name!r}, but a colon separates a name from its argument"
    if isinstance(entry, DatasetEntry) and (problem := _shape_problem(entry)):
        return problem
    module, _, attribute = getattr(entry, "load", "module:Name").partition(":")
    if not module or not attribute:
        return f"load is {entry.load!r}, not 'module:Name'"
    return None


def _shape_problem(entry: DatasetEntry) -> str | None:
    if (entry.shape is None) != (entry.classes is None):
        return "it has only one of shape and classes"
    if entry.shape is None:
        return "it is the reference, and has no shape" if entry.reference else None
    sizes = (*entry.shape, entry.classes)
    if len(entry.shape) != 3 or not all(isinstance(n, int) and n > 0 for n in sizes):
        return f"shape and classes are {entry.shape!r} and {entry.classes!r}, not positive numbers"
    return None


def loaded_problem(kind: str, name: str, loaded: Any) -> str | None:
    """Return what is wrong with the object that an entry loads; None if it is right."""
    if kind in BASES:
        return _class_problem(kind, name, loaded)
    return None if callable(loaded) else f"is {loaded!r}, not a function"


def _class_problem(kind: str, name: str, cls: Any) -> str | None:
    base = BASES[kind]
    if not derives(cls, base):
        return f"does not derive from {base[0]}.{base[1]}"
    if left := sorted(getattr(cls, "__abstractmethods__", ())):
        return f"does not define {', '.join(left)}"
    if kind == "datasets":
        return _dataset_problem(name, cls)
    if kind == "rules" and not derives(cls.Config, ("lbench.config", "RuleConfig")):
        return f"has a Config that is {cls.Config!r}, not a class that derives from RuleConfig"
    if kind == "networks" and cls.build.__module__ == base[0]:
        return "does not define build"
    if kind == "probes" and not _columns(cls.columns):
        return f"has columns that are {cls.columns!r}, not a mapping of names to Column"
    return None


def derives(cls: Any, base: tuple[str, str]) -> bool:
    """Return whether a class derives from the one with this module and name."""
    return isinstance(cls, type) and base in {(c.__module__, c.__qualname__) for c in cls.__mro__}


def _dataset_problem(name: str, cls: Any) -> str | None:
    for attribute in ("name", "title"):
        value = getattr(cls, attribute, None)
        if value is None:
            return f"has no {attribute}: write {attribute} = … in it"
        if not isinstance(value, str) or not value:
            return f"has the {attribute} {value!r}, which is not a word"
    if not derives(cls.Config, ("lbench.config", "DatasetConfig")):
        return f"has a Config that is {cls.Config!r}, not a class that derives from DatasetConfig"
    if cls.name != name:
        return f"has the name {cls.name!r}: give entry and class the same name"
    return None


def _columns(columns: Any) -> bool:
    return isinstance(columns, Mapping) and all(
        derives(type(column), ("lbench.probe", "Column")) for column in columns.values()
    )
