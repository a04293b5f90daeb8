"""What entries and the classes that they name must be, checked without importing lbench's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BASES = {
    "rules": ("lbench.rule", "Rule"),
    "networks": ("lbench.networks.spec", "NetworkSpec"),
    "datasets": ("lbench.data.source", "Source"),
    "probes": ("lbench.probe", "Probe"),
}
"""Module and name of what a class of a kind derives from: importing it may bring PyTorch."""
TYPES = {"str": str, "Path": Path, "Mapping[str, Any]": Mapping}
"""By the annotation of an entry's field."""


def entry_problem(entry: Any) -> str | None:
    """Return what is wrong with the fields of an entry; None where nothing is."""
    for field in dataclasses.fields(entry):
        value, wanted = getattr(entry, field.name), TYPES[str(field.type)]
        if not isinstance(value, wanted):
            return f"{field.name} is {value!r}, not a {wanted.__name__}"
    if not entry.name:
        return "name is empty"
    module, _, attribute = getattr(entry, "load", "module:Name").partition(":")
    if not module or not attribute:
        return f"load is {entry.load!r}, not 'module:Name'"
    return None


def class_problem(kind: str, name: str, cls: Any) -> str | None:
    """Return what is wrong with the class that the entry of this kind and name loads."""
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
    if cls.name != name:
        return f"has the name {cls.name!r}: give entry and class the same name"
    return None


def _columns(columns: Any) -> bool:
    return isinstance(columns, Mapping) and all(
        derives(type(each), ("lbench.probe", "Column")) for each in columns.values()
    )
