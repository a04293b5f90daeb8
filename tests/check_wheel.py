"""The installed wheel has every file of the tree that it should have, and no other.

Run by tox in a clean environment and an empty directory: ``python check_wheel.py TREE``.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

PACKAGES = {"lbench": "lbench", "lbench_studies": "studies"}


def main(tree: Path) -> int:
    packages = dict(PACKAGES)
    packages |= {path.name: f"plugins/{path.name}" for path in tree.glob("plugins/lbench_*")}
    problems = []
    for name, folder in packages.items():
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            problems.append(f"{name} is not installed")
            continue
        installed = Path(spec.origin).parent
        if installed == tree / folder:
            problems.append(f"{name} is imported from the tree, not from the wheel")
        problems += [f"{name}/{each}: {what}" for each, what in compare(tree / folder, installed)]
    brought = {path.parts[0] for path in importlib.metadata.files("lbench") or []}
    known = {*packages, "..", f"lbench-{importlib.metadata.version('lbench')}.dist-info"}
    problems += [f"{stray} is in the wheel" for stray in sorted(brought - known)]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(packages)} packages compared with the tree, {len(problems)} problems")
    return 1 if problems else 0


def compare(source: Path, installed: Path) -> list[tuple[Path, str]]:
    ours, theirs = files(source), files(installed)
    problems = [(path, "missing in the wheel") for path in ours - theirs]
    problems += [(path, "not in the tree") for path in theirs - ours]
    for path in ours & theirs:
        if (source / path).read_bytes() != (installed / path).read_bytes():
            problems.append((path, "differs from the tree"))
    return sorted(problems)


def files(root: Path) -> set[Path]:
    return {
        path.relative_to(root)
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
