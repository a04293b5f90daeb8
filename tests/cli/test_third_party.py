"""Tests of the example plugin of another author: its probe, figure and analysis in a report."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests import forked

EXAMPLE = Path(__file__).parents[2] / "examples" / "third_party_rule"
PROJECT = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the metadata of an installed distribution of the example."""
    folder = tmp_path_factory.mktemp("installed")
    info = folder / "lbench_rule_sign_pred-1.0.0.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: {PROJECT['version']}\n"
    (info / "METADATA").write_text(metadata)
    entries = "\n".join(f"{k} = {v}" for k, v in PROJECT["entry-points"]["lbench"].items())
    (info / "entry_points.txt").write_text(f"[lbench]\n{entries}\n")
    return folder


def lbench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("LBENCH_")}
    env["PYTHONPATH"] = os.pathsep.join([str(folder), str(EXAMPLE)])
    done = forked.run(*arguments, cwd=folder, env=env)
    assert done.returncode == 0, done.stderr
    return done


def test_the_plugin_is_listed_with_its_figure_and_its_analysis(folder: Path) -> None:
    rows = json.loads(lbench(folder, "plugins", "--json").stdout)
    plugins = {plugin["name"]: plugin for plugin in rows}
    brings = plugins["sign_pred"]["brings"]
    assert brings["probes"] == brings["figures"] == brings["analyses"] == ["sign_angle"]
    assert "figures: sign_angle; analyses: sign_angle" in " ".join(
        lbench(folder, "plugins").stdout.split()
    )


def test_a_study_reports_the_rows_of_the_plugins_own_probe(folder: Path) -> None:
    study = str(EXAMPLE / "sign_angle.toml")
    flags = ["--yes", "--workers", "1", "--threads", "1", "--json"]
    content = json.loads(lbench(folder, "study", study, *flags).stdout)
    again = json.loads(lbench(folder, "report", study, "--json").stdout)
    assert again["answer"] == content["answer"]
    assert content["left_out"] == {}

    answer = content["answer"]
    assert answer["sentence"].startswith("The angle between feedback and weights of the last block")
    angles = list(answer["data"]["angles"].values())
    assert [len(by_seed) for by_seed in angles] == [2, 2]
    # Feedback with correct signs has a smaller angle to the weights than with a fifth flipped.
    assert max(angles[0]) < min(angles[1]) < 90

    page = Path(content["report"])
    text = page.read_text()
    assert answer["sentence"] in text
    assert "Angle between feedback and weights" in text
    csv = (page.parent / "figures" / "sign_angle.csv").read_text().splitlines()
    assert csv[0] == "series,epoch,angle"
    assert len(csv) > 1 + 2 * 2
