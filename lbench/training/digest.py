"""The digest of a rule's code: an edited rule is another rule."""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import sys
import tokenize
from pathlib import Path

from lbench.training.modules import same_author, source

_known: dict[type, str] = {}


def code_digest(cls: type) -> str:
    """Return the SHA-256 in hex of the source of a class, without comments and blank lines.

    The source is read at the first call of this function: a later edit does not change the class
    that is loaded.

    The digest covers the module of the class, the modules of its bases that are rules or networks
    themselves, and every module of the same author that these import, directly or indirectly. It
    leaves out lbench itself (``semantics`` in the fingerprint is increased when a change of lbench
    changes results) and other installed distributions, whether the author's code imports them or
    lbench's own classes derive from them. Only module names and texts count, so that code keeps
    its digest when its files are moved.
    """
    if cls not in _known:
        _known[cls] = _digest(cls)
    return _known[cls]


def _digest(cls: type) -> str:
    pending = _own(cls)
    seen: dict[str, str] = {}
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        path = source(name)
        if path is None:
            continue
        seen[name], imports = _read(path, name)
        pending += [other for other in imports if _belongs(other) and same_author(name, other)]
    if not seen:
        # A class that was typed at a prompt has no file: only its own text is available.
        try:
            seen[cls.__qualname__] = _strip(inspect.getsource(cls))
        except (OSError, TypeError):
            seen[cls.__qualname__] = cls.__qualname__
    parts = [f"{name}\n{seen[name]}" for name in sorted(seen)]
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _own(cls: type) -> list[str]:
    """Return the modules of a class and of its bases, without those of dependencies.

    A base counts when it derives from a class of lbench, as a rule of another author does, or when
    one author wrote it and the class. pydantic, from which lbench's classes derive, does not count.
    """
    modules = []
    for base in cls.__mro__:
        derived = any(_top(ancestor.__module__) == "lbench" for ancestor in base.__mro__)
        if _belongs(base.__module__) and (
            base is cls or derived or same_author(cls.__module__, base.__module__)
        ):
            modules.append(base.__module__)
    return modules


def _belongs(module: str) -> bool:
    return _top(module) not in ("lbench", "torch") and _top(module) not in sys.stdlib_module_names


def _top(module: str) -> str:
    return module.partition(".")[0]


def _read(path: Path, name: str) -> tuple[str, set[str]]:
    """Return a module's text without comments, and the names of what it may import."""
    try:
        with tokenize.open(path) as file:
            text = file.read()
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        return _strip(text), _imports(text, package)
    except (SyntaxError, ValueError):
        # This Python cannot import such a file: any change of it counts.
        return hashlib.sha256(path.read_bytes()).hexdigest(), set()


def _imports(text: str, package: str) -> set[str]:
    """Return the absolute names of modules that a source may import.

    Names of attributes may be among them, which does no harm.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def _strip(text: str) -> str:
    # splitlines would also break at form feeds, which the tokenizer does not.
    lines = text.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())
