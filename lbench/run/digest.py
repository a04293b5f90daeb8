"""The digest of a rule's code: an edited rule is another rule."""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import sys
import tokenize
from pathlib import Path

from lbench.run.modules import source, together

_known: dict[type, str] = {}


def code_digest(cls: type) -> str:
    """Return the SHA-256 in hex of the source of a class, without comments and blank lines.

    The source is read when the digest is first asked for: a later edit does not change the class
    that is loaded.

    It covers the module of the class, those of its bases that are rules or networks themselves,
    and every module of the same author that these import, followed through. Left out are lbench
    itself (``semantics`` of the fingerprint is raised when a change of it changes results) and
    other installed distributions, whether the author's code imports them or lbench's own classes
    derive from them. Only names and texts count, so code that is moved keeps its digest.
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
        pending += [each for each in imports if _belongs(each) and together(name, each)]
    if not seen:
        # Typed at a prompt: the class's own text is all there is.
        try:
            seen[cls.__qualname__] = _strip(inspect.getsource(cls))
        except (OSError, TypeError):
            seen[cls.__qualname__] = cls.__qualname__
    parts = [f"{name}\n{seen[name]}" for name in sorted(seen)]
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _own(cls: type) -> list[str]:
    """Return the modules of a class and of its bases, without those of dependencies.

    A base counts when it derives from a class of lbench, as a rule of another author does, or when
    it was written together with the class. pydantic, from which lbench's classes derive, does not.
    """
    found = []
    for base in cls.__mro__:
        derived = any(_top(each.__module__) == "lbench" for each in base.__mro__)
        if _belongs(base.__module__) and (
            base is cls or derived or together(cls.__module__, base.__module__)
        ):
            found.append(base.__module__)
    return found


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
        # Not code for this Python, so nothing imports it: any change of it counts.
        return hashlib.sha256(path.read_bytes()).hexdigest(), set()


def _imports(text: str, package: str) -> set[str]:
    """Modules that a source may import, by absolute name; names of attributes do no harm."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def _strip(text: str) -> str:
    # Not splitlines: it also breaks at form feeds, and the tokenizer does not.
    lines = text.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())
