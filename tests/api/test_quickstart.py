"""The code of examples/quickstart.py and of docs/python.md runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import lbench
from tests.api.conftest import Trained

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8")


def test_importing_lbench_imports_no_heavy_package() -> None:
    code = "import sys, lbench; lbench.rules(); print([m for m in ('torch', 'mlflow', 'pandas', "
    code += "'matplotlib', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_quickstart_has_at_most_30_lines_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(EXAMPLE.splitlines()) <= 30
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LBENCH_HOME", raising=False)
    quick = EXAMPLE.replace("seeds=3, epochs=5", "seeds=2, epochs=1, threads=1")
    exec(compile(quick, "quickstart.py", "exec"), {"__name__": "__main__"})
    output = capsys.readouterr().out
    assert "seeds finished         2 of 2" in output
    assert "2 minus 1" in output
    assert (tmp_path / "errors.png").stat().st_size > 0
    assert (tmp_path / "lbench-runs").is_dir()


def test_the_code_of_the_page_reads_the_weights(trained: Trained) -> None:
    (code,) = [
        block for block in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "load_file" in block
    ]
    names = {"run_dir": trained.lfnn.run_dirs[0]}
    exec(code, names)
    assert list(names["matrices"]) == [  # type: ignore[call-overload]
        "network.blocks.0.layer.affine.weight", "network.blocks.1.layer.affine.weight",
    ]  # fmt: skip


def test_the_page_names_every_function() -> None:
    functions = {"run", "study", "tune", "compare", "results", "load", "rules", "datasets", "audit"}
    assert functions <= set(lbench.__all__)
    for name in functions:
        assert f"`lbench.{name}(" in PAGE, name
