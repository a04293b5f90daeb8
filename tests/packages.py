"""Installs a package as pip does, without pip and its network."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterable
from pathlib import Path


def install(project: Path, layer: Path) -> Path:
    """Install the project in a folder with a ``pyproject.toml`` into ``layer``, for PYTHONPATH."""
    content = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    meta = content["project"]
    name, version = meta["name"], meta["version"]
    for package in content["tool"]["setuptools"]["packages"]:
        shutil.copytree(project / package, layer / package)
    info = layer / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    points = "".join(f"{key} = {value}\n" for key, value in meta["entry-points"]["lbench"].items())
    (info / "entry_points.txt").write_text(f"[lbench]\n{points}")
    record(info, [layer / package for package in content["tool"]["setuptools"]["packages"]])
    return layer


def record(info: Path, paths: Iterable[Path]) -> None:
    """Write the list of a distribution's files: those of these packages and modules."""
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    names = sorted(file.relative_to(info.parent).as_posix() for file in files if file.is_file())
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in names))
