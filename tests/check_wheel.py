"""Checks the installed wheel in a clean environment and an empty directory.

tox runs ``python check_wheel.py TREE EMPTY``, which creates ``EMPTY``. The wheel must have the
right files of the tree, no others, and the licence. lbench must run; a third-party rule and a new
one are installed, tested, used and removed. The lists of commands within a step run in parallel.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PACKAGES = {"lbench": "lbench", "lbench_studies": "studies"}
STEPS: list[list[list[str]]] = [
    [
        # This command imports most packages first, and compiles them for all others.
        ["lbench run --rule bp --dataset digits"],
        [
            "lbench rules",
            "lbench studies",
            "lbench new rule newcomer",  # the first command of a new author
            "python -m pip install -q --no-compile -c CONSTRAINTS "
            "./third[test] -e ./lbench-rule-newcomer[test]",
        ],
    ],
    [
        [
            "lbench run --rule lfnn_l --dataset digits",
            "lbench compare bp/digits lfnn_l/digits",
            "lbench plugins",
            "lbench rules sign_pred",
            "lbench run --rule sign_pred --dataset digits --epochs 2",
            "lbench study third/sign_angle.toml --yes --workers 1",
            "lbench run --rule newcomer --dataset digits --epochs 2",
        ],
        [
            "lbench check lbench-rule-sign-pred --quick",
            "python -m pytest -q third",
            "python -m pytest -q lbench-rule-newcomer",
        ],
    ],
    [["python -m pip uninstall -q -y lbench-rule-sign-pred lbench-rule-newcomer"]],
]


def main(tree: Path, empty: Path) -> int:
    problems = differences(tree)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"comparing the wheel with the tree: {len(problems)} problems", flush=True)
    if problems:
        return 1
    empty.mkdir()
    shutil.copytree(tree / "examples" / "third_party_rule", empty / "third")
    with ThreadPoolExecutor() as pool:
        for step in STEPS:
            if not all(list(pool.map(lambda commands: go(commands, tree, empty), step))):
                return 1
    return 0


def go(commands: Sequence[str], tree: Path, empty: Path) -> bool:
    """Run commands one after the other in the directory; return whether all succeeded."""
    scripts = Path(sys.executable).parent
    for command in commands:
        program, *words = command.split()
        words = [str(tree / "constraints.txt") if word == "CONSTRAINTS" else word for word in words]
        begun = time.monotonic()
        done = subprocess.run(
            [scripts / program, *words],
            cwd=empty,
            env={**os.environ, "LBENCH_HOME": str(empty / "runs")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        print(f"$ {command}  [{time.monotonic() - begun:.1f} s]\n{done.stdout}", flush=True)
        if done.returncode:
            print(f"exit code {done.returncode}: {command}", file=sys.stderr, flush=True)
            return False
    return True


def differences(tree: Path) -> list[str]:
    """Return the differences between the files of the wheel and of the tree."""
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
        problems += [f"{name}/{path}: {what}" for path, what in compare(tree / folder, installed)]
    top_level = {path.parts[0] for path in importlib.metadata.files("lbench") or []}
    known = {*packages, "..", f"lbench-{importlib.metadata.version('lbench')}.dist-info"}
    problems += [f"{stray} is in the wheel" for stray in sorted(top_level - known)]
    return problems + licence(tree)


def licence(tree: Path) -> list[str]:
    """Return what is wrong with, or missing from, the licence in the wheel."""
    installed = importlib.metadata.distribution("lbench")
    expression = installed.metadata["License-Expression"]
    text = installed.read_text("licenses/LICENSE")
    problems = [] if expression == "MIT" else [f"the licence of the wheel is {expression}, not MIT"]
    if text != (tree / "LICENSE").read_text():
        problems.append("licenses/LICENSE differs from LICENSE, or is missing")
    return problems


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
    sys.exit(main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()))
