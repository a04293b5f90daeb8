"""The digest of a rule's code: an edited rule is another rule."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import inspect
import io
import sys
import sysconfig
import tokenize
from pathlib import Path

_known: dict[type, str] = {}


def code_digest(cls: type) -> str:
    """SHA-256 in hex of the source behind a class, without comments and blank lines.

    As it is when it is first asked for: a later edit does not change the class that is loaded.

    Behind a class lie the modules of its bases and all that these import, followed through, but
    for other installed distributions. lbench itself is left out: a change of it that changes
    results raises the fingerprint's ``semantics``.
    """
    if cls not in _known:
        _known[cls] = _digest(cls)
    return _known[cls]


def _digest(cls: type) -> str:
    pending = [base.__module__ for base in cls.__mro__ if _belongs(base.__module__)]
    seen: dict[str, str] = {}
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        path = _source(name)
        if path is None:
            continue
        text = path.read_text(encoding="utf-8")
        seen[name] = _strip(text)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        pending += [each for each in _imports(text, package) if _together(name, each)]
    if not seen:
        # Typed at a prompt: the class's own text is all there is.
        try:
            seen[cls.__qualname__] = _strip(inspect.getsource(cls))
        except OSError:
            seen[cls.__qualname__] = cls.__qualname__
    parts = [f"{name}\n{seen[name]}" for name in sorted(seen)]
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _belongs(module: str) -> bool:
    top = module.partition(".")[0]
    return top not in ("lbench", "torch") and top not in sys.stdlib_module_names


def _together(name: str, imported: str) -> bool:
    """Whether a module and one that it imports are written together."""
    own, other = name.partition(".")[0], imported.partition(".")[0]
    if own == other or not _belongs(imported):
        return own == other
    path = _source(other)
    if path is None:
        return False
    if not any(path.is_relative_to(sysconfig.get_path(key)) for key in ("purelib", "platlib")):
        return True
    distributions = importlib.metadata.packages_distributions()
    return bool(set(distributions.get(own, ())) & set(distributions.get(other, ())))


def _source(name: str) -> Path | None:
    module = sys.modules.get(name)
    origin = getattr(module, "__file__", None)
    if origin is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return None
        origin = spec.origin if spec else None
    path = Path(origin) if origin else None
    return path if path and path.suffix == ".py" and path.exists() else None


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
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())
