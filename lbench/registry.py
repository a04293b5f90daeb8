"""Registry: the installed plugins and all entries by kind and name.

Plugins are the entry points of the group ``lbench``, including lbench's own, and files that a
command names with ``--plugin``. All entries of a plugin are checked before any of them is added,
so a broken plugin adds nothing and does not affect others.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pluggy

from lbench import hooks
from lbench.containment import contained
from lbench.errors import PluginError, unknown
from lbench.plugin_check import entry_problem, loaded_problem
from lbench.plugin_file import hooks_of, import_file

GROUP = "lbench"
KINDS: dict[str, type[Any]] = {
    "rules": hooks.RuleEntry,
    "networks": hooks.NetworkEntry,
    "datasets": hooks.DatasetEntry,
    "sequences": hooks.SequenceEntry,
    "studies": hooks.StudyEntry,
    "published": hooks.PublishedEntry,
    "probes": hooks.ProbeEntry,
    "figures": hooks.FigureEntry,
    "analyses": hooks.AnalysisEntry,
}
NOUNS = {"studies": "study", "analyses": "analysis"}
"""What one of a kind is called, where that is not the kind without its s."""
UNLISTED = ("sequences", "figures", "analyses")
"""Kinds that no command lists: a message has all their names."""


@dataclass(slots=True)
class Plugin:
    """One entry point or file, with the names of its entries, or the error that excluded it."""

    name: str
    module: str
    distribution: str
    version: str
    error: str | None = None
    brings: dict[str, list[str]] = field(default_factory=dict)


@dataclass(slots=True)
class Registry:
    """Every plugin and every entry, by kind and name."""

    plugins: list[Plugin] = field(default_factory=list)
    rules: dict[str, hooks.RuleEntry] = field(default_factory=dict)
    networks: dict[str, hooks.NetworkEntry] = field(default_factory=dict)
    datasets: dict[str, hooks.DatasetEntry] = field(default_factory=dict)
    sequences: dict[str, hooks.SequenceEntry] = field(default_factory=dict)
    studies: dict[str, hooks.StudyEntry] = field(default_factory=dict)
    published: dict[str, hooks.PublishedEntry] = field(default_factory=dict)
    probes: dict[str, hooks.ProbeEntry] = field(default_factory=dict)
    figures: dict[str, hooks.FigureEntry] = field(default_factory=dict)
    analyses: dict[str, hooks.AnalysisEntry] = field(default_factory=dict)
    owners: dict[tuple[str, str], str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)

    def entries(self, kind: str) -> dict[str, Any]:
        """Return all entries of a kind, such as ``"rules"``, by name."""
        entries: dict[str, Any] = getattr(self, kind)
        return entries

    def names(self, kind: str) -> list[str]:
        """Return the names of all entries of a kind, and those of datasets as sequences."""
        names = list(self.entries(kind))
        if kind == "datasets":
            names += [f"{prefix}-{name}" for prefix in self.sequences for name in self.datasets]
        return names

    def sequence(self, name: str) -> tuple[hooks.SequenceEntry, hooks.DatasetEntry] | None:
        """Return kind and dataset of a sequence, such as ``permuted-mnist``; None if it is none."""
        for entry in self.sequences.values():
            base = name.removeprefix(f"{entry.name}-")
            if base != name and base in self.datasets and name not in self.datasets:
                return entry, self.datasets[base]
        return None

    def owner(self, kind: str, name: str) -> str:
        """Return the name of the plugin that has an entry; for a sequence, that of its dataset."""
        if kind == "datasets" and (parts := self.sequence(name)):
            name = parts[1].name
        return self.owners[kind, name]

    def reference(self, kind: str) -> str:
        """Return the rule or dataset that has ``reference=True``; "" if none has.

        Args:
            kind: ``"rules"`` or ``"datasets"``.
        """
        return next((e.name for e in self.entries(kind).values() if e.reference), "")

    def find(self, kind: str, name: str) -> Any:
        """Return the entry of this kind and name.

        Raises:
            UsageError: no plugin has it; the hint has the nearest names.
            PluginError: the plugin that has it is broken.
        """
        entries = self.entries(kind)
        if name in entries:
            return entries[name]
        if kind == "datasets" and (parts := self.sequence(name)):
            entry, base = parts
            title = f"{entry.title} {base.title}"
            return hooks.DatasetEntry(name, title, entry.load, entry.network)
        for plugin in self.plugins:
            if plugin.error and name in plugin.brings.get(kind, [plugin.name]):
                raise PluginError(
                    f"{noun(kind).capitalize()} {name!r} is not available: "
                    f"plugin {plugin.name!r} was left out. {plugin.error}",
                    "See all plugins with: lbench plugins",
                )
        listing = f"List them with: lbench {kind}"
        if kind in UNLISTED:
            listing = f"Known: {', '.join(entries)}"
        if broken := [plugin.name for plugin in self.plugins if plugin.error]:
            listing += f" (plugins left out: {', '.join(broken)}; see: lbench plugins)"
        raise unknown(noun(kind), name, self.names(kind), listing=listing)

    def load(self, kind: str, name: str) -> Any:
        """Return the class or function that an entry with ``load`` names.

        Raises:
            UsageError: no plugin has the entry.
            PluginError: it cannot be imported, or is not what an object of its kind must be.
        """
        if kind == "datasets" and (parts := self.sequence(name)):
            cls, base = self.load("sequences", parts[0].name), self.load(kind, parts[1].name)
            return cls.over(base, name, self.find(kind, name).title)
        entry = self.find(kind, name)
        module, _, attribute = entry.load.partition(":")
        try:
            with contained():
                loaded = getattr(importlib.import_module(module), attribute)
                problem = loaded_problem(kind, name, loaded)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise PluginError(
                f"Plugin {self.owner(kind, name)!r} names {entry.load!r} for {name!r}, "
                f"which cannot be loaded: {type(error).__name__}: {error}",
                "See all plugins with: lbench plugins",
            ) from error
        if problem is not None:
            raise PluginError(
                f"Plugin {self.owner(kind, name)!r} names {entry.load!r} for {noun(kind)} "
                f"{name!r}, but {attribute} {problem}.",
                "See all plugins with: lbench plugins",
            )
        return loaded

    def add_file(self, path: Path) -> None:
        """Add the entries of a file that is not installed; adding a file again does nothing.

        A file with hooks is a plugin like any other; from one without hooks its rules are added,
        see :class:`lbench.plugin_file.ImpliedHooks`.

        Raises:
            PluginError: an entry is wrong or the file cannot be imported; nothing was added.
        """
        path = path.resolve()
        plugin = Plugin(path.name, path.stem, "", "")
        known = path.stem in sys.modules
        module = import_file(path)
        if any(other.name == plugin.name for other in self.plugins):
            return
        try:
            with contained():
                self.add(_manager(), plugin, hooks_of(module))
            if not any(plugin.brings.values()):
                raise PluginError(
                    "It has no entries.",
                    "Write a class that derives from a Rule, or put @hookimpl above each hook.",
                )
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if not known:
                del sys.modules[path.stem]
            if isinstance(error, PluginError):
                problem, hint = error.message, error.hint
            else:
                problem, hint = f"{type(error).__name__}: {error}", ""
            raise PluginError(f"Plugin {path.name} cannot be used. {problem}", hint) from error
        self.plugins.append(plugin)
        self.files.append(path)

    def add(self, manager: pluggy.PluginManager, plugin: Plugin, module: object) -> None:
        """Check all entries of a plugin, then add all of them.

        Raises:
            PluginError: an entry is wrong; nothing was added.
        """
        wanted = getattr(module, "API", None)
        if wanted != hooks.API:
            packages = " ".join(dict.fromkeys([plugin.distribution, "lbench"]))
            raise PluginError(
                f"It needs plugin interface {wanted!r}, this lbench has {hooks.API}. "
                f"Upgrade with: python -m pip install --upgrade {packages}"
            )
        manager.register(module, plugin.name)
        others = set(manager.get_plugins()) - {module}
        added: dict[str, list[hooks.Entry]] = {}
        for kind in KINDS:
            returned = manager.subset_hook_caller(f"lbench_{kind}", others)()
            for entries in returned:
                if not isinstance(entries, (list, tuple)):
                    raise PluginError(f"Its hook lbench_{kind} returned {entries!r}, not a list.")
            added[kind] = [entry for entries in returned for entry in entries]
            plugin.brings[kind] = [getattr(entry, "name", "?") for entry in added[kind]]
            _check_entries(kind, added[kind])
        for kind, names in plugin.brings.items():
            self._check_names(kind, names)
        self._check_references(added)
        for kind, entries in added.items():
            for entry in entries:
                self.entries(kind)[entry.name] = entry
                self.owners[kind, entry.name] = plugin.name

    def _check_references(self, added: Mapping[str, Sequence[Any]]) -> None:
        """Check that at most one rule and one dataset have ``reference=True``.

        Raises:
            PluginError: a second one does.
        """
        for kind in ("rules", "datasets"):
            references = [entry.name for entry in added[kind] if entry.reference]
            if len(references) > 1 or (references and self.reference(kind)):
                raise PluginError(
                    f"Its {noun(kind)} {references[-1]!r} has reference=True, as has "
                    f"{self.reference(kind) or references[0]!r}; set it for one of them alone."
                )

    def _check_names(self, kind: str, names: Sequence[str]) -> None:
        """Check that the names of a plugin's entries are free and differ from each other.

        Raises:
            PluginError: a name is taken, or occurs twice.
        """
        for name in names:
            if (kind, name) in self.owners:
                raise PluginError(
                    f"Its {noun(kind)} {name!r} is taken by plugin "
                    f"{self.owner(kind, name)!r}; rename it, or remove one of the two."
                )
            if names.count(name) > 1:
                raise PluginError(f"It has two entries for {noun(kind)} {name!r}.")


def build(entry_points: Iterable[importlib.metadata.EntryPoint]) -> Registry:
    """Return a registry of these entry points; lbench's own come first and so keep their names."""
    manager = _manager()
    registry = Registry()
    for point in sorted(entry_points, key=_rank):
        name, version = (point.dist.name, point.dist.version) if point.dist else ("?", "?")
        plugin = Plugin(point.name, point.value, name, version)
        registry.plugins.append(plugin)
        try:
            with contained():
                registry.add(manager, plugin, point.load())
        except PluginError as error:
            plugin.error = error.message
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            plugin.error = f"{type(error).__name__} while loading {point.value}: {error}"
        if plugin.error and manager.has_plugin(plugin.name):
            manager.unregister(name=plugin.name)
    return registry


def _check_entries(kind: str, entries: Iterable[Any]) -> None:
    """Check that a hook has returned valid entries of its kind.

    Raises:
        PluginError: an entry has another type or a wrong field.
    """
    cls = KINDS[kind]
    for entry in entries:
        if not isinstance(entry, cls):
            raise PluginError(f"Its hook lbench_{kind} returned {entry!r}, not a {cls.__name__}.")
        if problem := entry_problem(entry):
            raise PluginError(f"Its entry of {noun(kind)} {entry.name!r} is wrong: {problem}.")


def noun(kind: str) -> str:
    """Return the singular of a kind for messages: ``"rule"`` for ``"rules"``."""
    return NOUNS.get(kind, kind.removesuffix("s"))


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager("lbench")
    manager.add_hookspecs(hooks.HookSpecs)
    return manager


def _rank(point: importlib.metadata.EntryPoint) -> tuple[bool, str]:
    return (point.dist is None or point.dist.name != "lbench", point.name)


@functools.cache
def registry() -> Registry:
    """Return the registry of the installed plugins, which is built once per process."""
    return build(importlib.metadata.entry_points(group=GROUP))
