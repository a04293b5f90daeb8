"""The example of a distribution of someone else: its probe, figure and analysis in a report."""

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
    """A directory with the metadata that an installation of the example has."""
    folder = tmp_path_factory.mktemp("installed")
    info = folder / "lbench_rule_sign_pred-1.0.0.dist-info"
    info.mkdir()
    said = f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: {PROJECT['version']}\n"
    (info / "METADATA").write_text(said)
    points = "\n".join(f"{k} = {v}" for k, v in PROJECT["entry-points"]["lbench"].items())
    (info / "entry_points.txt").write_text(f"[lbench]\n{points}\n")
    return folder


def lbench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("LBENCH_")}
    env["PYTHONPATH"] = os.pathsep.join([str(folder), str(EXAMPLE)])
    done = forked.run(*arguments, cwd=folder, env=env)
    assert done.returncode == 0, done.stderr
    return done


def test_the_plugin_is_listed_with_its_figure_and_its_analysis(folder: Path) -> None:
    plugins = {
        each["name"]: each for each in json.loads(lbench(folder, "plugins", "--json").stdout)
    }
    brings = plugins["sign_pred"]["brings"]
    assert brings["probes"] == brings["figures"] == brings["analyses"] == ["sign_angle"]
    assert "figures: sign_angle; analyses: sign_angle" in " ".join(
        lbench(folder, "plugins").stdout.split()
    )


def test_a_study_reports_what_the_plugins_own_probe_recorded(folder: Path) -> None:
    study = str(EXAMPLE / "sign_angle.toml")
    flags = ["--yes", "--workers", "1", "--threads", "1", "--json"]
    found = json.loads(lbench(folder, "study", study, *flags).stdout)
    again = json.loads(lbench(folder, "report", study, "--json").stdout)
    assert again["answer"] == found["answer"]
    assert found["left_out"] == {}

    answer = found["answer"]
    assert answer["sentence"].startswith("The angle between feedback and weights of the last block")
    angles = list(answer["data"]["angles"].values())
    assert [len(each) for each in angles] == [2, 2]
    # Right signs point nearer to the weights than those of which a fifth is turned around.
    assert max(angles[0]) < min(angles[1]) < 90

    page = Path(found["report"])
    text = page.read_text()
    assert answer["sentence"] in text
    assert "Angle between feedback and weights" in text
    csv = (page.parent / "figures" / "sign_angle.csv").read_text().splitlines()
    assert csv[0] == "series,epoch,angle"
    assert len(csv) > 1 + 2 * 2
