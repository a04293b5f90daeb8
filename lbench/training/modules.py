"""The files of modules, and which modules one author wrote; no module is imported for it."""

from __future__ import annotations

import functools
import importlib.util
import site
import sys
import sysconfig
from importlib.machinery import PathFinder
from pathlib import Path


def source(name: str) -> Path | None:
    """Return the Python file of a module; None for compiled, built-in and missing ones."""
    origin, _ = _location(name)
    path = Path(origin) if origin else None
    return path if path and path.suffix == ".py" and path.exists() else None


def same_author(name: str, imported: str) -> bool:
    """Return whether one author wrote a module and another one that it imports.

    Modules of one package have the same author. Those of two packages have when one installed
    distribution contains both, or when the imported one is not installed but is a file on the
    path, as in a checkout.
    """
    own, other = _root(name), _root(imported)
    if own is None or other is None:
        return False
    if own == other:
        return True
    path = source(other)
    if path is None:
        return False
    if not _installed(other):
        return True
    entry, own_path = _entry(path, other), source(own)
    if own_path is None or _entry(own_path, own) != entry:
        return False
    return bool(_distributions(entry, own) & _distributions(entry, other))


def _location(name: str) -> tuple[str | None, list[str]]:
    """Return a module's file, and the directories of its submodules.

    A submodule is searched in its parent's directories instead of with
    ``importlib.util.find_spec``, which would import the parent and so run code that the rule may
    never reach.
    """
    module = sys.modules.get(name)
    if module is not None:
        file, folders = getattr(module, "__file__", None), getattr(module, "__path__", [])
        if file or folders:
            return file, list(folders)
    parent = name.rpartition(".")[0]
    try:
        if parent:
            folders = _location(parent)[1]
            spec = PathFinder.find_spec(name, folders) if folders else None
        else:
            spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None, []
    if spec is None:
        return None, []
    return spec.origin, list(spec.submodule_search_locations or [])


def _root(name: str) -> str | None:
    """Return the outermost package with a file; a namespace package has none and no one author."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        prefix = ".".join(parts[:count])
        origin, folders = _location(prefix)
        if origin:
            return prefix
        if not folders:
            return None
    return None


def _installed(name: str) -> bool:
    """Return whether a module comes from an installed distribution, by its file's directory."""
    root = _root(name)
    path = None if root is None else source(root)
    if root is None or path is None:
        return True
    entry = _entry(path, root)
    return entry in _sites() or bool(_distributions(entry, root))


def _entry(path: Path, root: str) -> Path:
    """Return the directory on the path from which a root is imported."""
    above = path.parent.parent if path.name == "__init__.py" else path.parent
    return above.parents[root.count(".") - 1] if "." in root else above


@functools.cache
def _sites() -> frozenset[Path]:
    """Return the directories into which packages are installed."""
    names = [*site.getsitepackages(), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    if user := site.getusersitepackages():
        names.append(user)
    return frozenset(map(Path, names))


@functools.cache
def _distributions(entry: Path, root: str) -> frozenset[Path]:
    """Return the metadata directories of the distributions that contain a package.

    ``importlib.metadata.packages_distributions`` does this for all packages at once, which takes
    ten times as long, and does not distinguish the parts of a namespace package.
    """
    files, top = f"\n{root.replace('.', '/')}", root.partition(".")[0]
    marks_of_file = {
        "RECORD": (f"{files}/".encode(), f"{files}.py,".encode()),
        "top_level.txt": (f"\n{top}\n".encode(),),
    }
    owners = set()
    for info in [*entry.glob("*.dist-info"), *entry.glob("*.egg-info")]:
        for name, marks in marks_of_file.items():
            try:
                content = b"\n" + (info / name).read_bytes().replace(b"\r", b"") + b"\n"
            except OSError:
                continue
            if any(mark in content for mark in marks):
                owners.add(info)
            break
    return frozenset(owners)
