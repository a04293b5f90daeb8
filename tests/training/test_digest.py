"""The digest of code covers the author's modules, in any directory, and nothing else."""

from __future__ import annotations

import importlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pydantic.main
import pytest

from lbench.training import digest, modules
from lbench.training.digest import code_digest
from tests.packages import record

NETWORK = """
import numpy as np
import sklearn
from lbench import Network, NetworkSpec, param
from plugged_dependency import Mixin, f
from plugged_maths import g
class Tiny(NetworkSpec, Mixin):
    width: int = param(8, help="Units")
"""
FILES = {
    "plugged_net/__init__.py": "",
    "plugged_net/net.py": NETWORK,
    "plugged_maths.py": "def g(x):\n    return x\n",
    "plugged_dependency/__init__.py": "from .inner import f\nclass Mixin:\n    scale = 1\n",
    "plugged_dependency/inner.py": "def f(x):\n    return x\n",
}
DISTRIBUTIONS = {"net": ["plugged_net", "plugged_maths.py"], "dependency": ["plugged_dependency"]}
Digest = Callable[..., str]


@pytest.fixture
def digest_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Digest]:
    """Return a function that imports a class anew from a directory, and returns its digest."""

    def take(folder: Path, where: str = "plugged_net.net:Tiny") -> str:
        _forget()
        monkeypatch.syspath_prepend(str(folder))
        module, _, name = where.partition(":")
        try:
            return code_digest(getattr(importlib.import_module(module), name))
        finally:
            sys.path.remove(str(folder))

    yield take
    _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.startswith("plugged")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def installed(
    folder: Path, files: dict[str, str], distributions: dict[str, list[str]] = DISTRIBUTIONS
) -> Path:
    """Write distributions into one directory, as pip does."""
    write(folder, files)
    for name, brings in distributions.items():
        info = folder / f"plugged_{name}-1.0.dist-info"
        info.mkdir()
        record(info, [folder / file for file in brings])
    return folder


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("plugged_net/net.py", True),
        ("plugged_maths.py", True),
        ("plugged_dependency/__init__.py", False),
        ("plugged_dependency/inner.py", False),
    ],
)
def test_an_updated_dependency_is_not_the_authors_code(
    digest_of: Digest, tmp_path: Path, file: str, changes: bool
) -> None:
    before = digest_of(installed(tmp_path / "before", FILES))
    updated = {**FILES, file: FILES[file] + "\nversion = 2\n"}
    assert (digest_of(installed(tmp_path / "after", updated)) != before) is changes


def test_pydantic_from_which_networks_derive_is_not_the_authors_code(
    digest_of: Digest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = installed(tmp_path / "layer", FILES)
    before = digest_of(folder)
    updated = tmp_path / "main.py"
    shutil.copy(str(pydantic.main.__file__), updated)
    updated.write_text(updated.read_text() + "\nversion = 2\n")
    monkeypatch.setattr(pydantic.main, "__file__", str(updated))
    assert digest_of(folder) == before


def test_code_that_is_moved_or_installed_keeps_its_digest(
    digest_of: Digest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "dependency", {k: v for k, v in FILES.items() if "dependency" in k})
    own = {k: v for k, v in FILES.items() if "dependency" not in k}
    record_of = {"dependency": DISTRIBUTIONS["dependency"]}
    installed(tmp_path / "dependency", {}, record_of)
    monkeypatch.syspath_prepend(str(tmp_path / "dependency"))
    folders = [tmp_path / "checkout", tmp_path / "elsewhere" / "moved"]
    for folder in folders:
        write(folder, own)
    (tmp_path / "linked").symlink_to(folders[0])
    folders += [tmp_path / "linked", installed(tmp_path / "layer", FILES)]
    assert len({digest_of(folder) for folder in folders}) == 1


def test_the_parts_of_a_namespace_belong_to_their_distributions(
    digest_of: Digest, tmp_path: Path
) -> None:
    files = {
        "plugged/rules/__init__.py": (
            "from lbench_bp.bp import Bp\nfrom plugged import maths, tools\nclass Mine(Bp): ...\n"
        ),
        "plugged/maths.py": "g = 1\n",
        "plugged/tools/__init__.py": "t = 1\n",
    }
    brings = {"rules": ["plugged/rules", "plugged/maths.py"], "tools": ["plugged/tools"]}

    def changed(name: str, file: str) -> str:
        edited = {**files, file: files[file] + "u = 2\n"} if file else files
        return digest_of(installed(tmp_path / name, edited, brings), "plugged.rules:Mine")

    before = changed("before", "")
    assert changed("own", "plugged/maths.py") != before
    assert changed("other", "plugged/tools/__init__.py") == before


RULE = "from lbench_bp.bp import Bp\nclass Mine(Bp):\n    scale = {}\n"


def test_modules_that_the_rule_imports_later_are_read_and_not_run(
    digest_of: Digest, tmp_path: Path
) -> None:
    def one(name: str, text: str) -> str:
        lazy = "    def show(self):\n        from .lazy.inner import x\n"
        files = {
            "plugged/__init__.py": "",
            "plugged/rule.py": RULE.format(1) + lazy,
            "plugged/lazy/__init__.py": "raise RuntimeError('needs a display')\n",
            "plugged/lazy/inner.py": text,
        }
        write(tmp_path / name, files)
        return digest_of(tmp_path / name, "plugged.rule:Mine")

    assert one("a", "x = 1\n") != one("b", "x = 2\n")


@pytest.mark.parametrize(
    ("name", "encoding", "head"),
    [
        ("latin", "latin-1", "# -*- coding: latin-1 -*-\nword = 'café'\n"),
        ("bom", "utf-8-sig", "word = 'café'\n"),
        ("form_feed", "utf-8", "first = 1\n\x0c\nsecond = '\x0c'\nthird = 3  # last\n"),
    ],
)
def test_any_source_that_python_reads_has_a_digest(
    digest_of: Digest, tmp_path: Path, name: str, encoding: str, head: str
) -> None:
    def one(version: int, comment: str) -> str:
        path = tmp_path / f"{version}{len(comment)}" / f"plugged_{name}.py"
        path.parent.mkdir()
        path.write_text(head + RULE.format(version).strip() + comment, encoding=encoding)
        return digest_of(path.parent, f"plugged_{name}:Mine")

    assert one(1, "\n") == one(1, "  # a comment\n") != one(2, "\n")


def test_modules_that_are_not_python_source_have_a_digest_too(
    digest_of: Digest, tmp_path: Path
) -> None:
    lazy = "    def show(self):\n        from . import fast, old\n"
    files = {"__init__.py": "", "rule.py": RULE.format(1) + lazy, "old.py": "print 'old'\n"}
    files[f"fast{EXTENSION_SUFFIXES[0]}"] = "machine code"
    write(tmp_path / "plugged", files)
    before = digest_of(tmp_path, "plugged.rule:Mine")
    write(tmp_path / "plugged", {"old.py": "print 'older'\n"})
    assert digest_of(tmp_path, "plugged.rule:Mine") != before


@pytest.mark.parametrize("laid_out", [write, installed], ids=["file", "distribution"])
def test_the_digest_of_another_authors_network_takes_a_tenth_of_a_second(
    digest_of: Digest, tmp_path: Path, laid_out: Callable[[Path, dict[str, str]], None]
) -> None:
    laid_out(tmp_path, FILES)
    digest_of(tmp_path)
    (cls,) = [known for known in digest._known if known.__module__ == "plugged_net.net"][-1:]
    seconds = []
    for _ in range(3):
        digest._known.clear()
        modules._distributions.cache_clear()
        began = time.process_time()
        code_digest(cls)
        seconds.append(time.process_time() - began)
    assert min(seconds) <= 0.1
