"""Copied and moved homes: MLflow's absolute paths follow them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow.utils.file_utils import local_file_uri_to_path

from lbench.home import Home
from lbench.store.mlflow_artifacts import location, rebase
from lbench.store.mlflow_view import MlflowView
from lbench.store.sync import sync
from tests.store.helper import write_run


def locations(home: Home) -> dict[str, str]:
    """Return the artifact URI of each MLflow run, by the run's name."""
    view = MlflowView(home)
    runs = view._client.search_runs(view.experiments())
    return {run.info.run_name: run.info.artifact_uri for run in runs}


@pytest.mark.parametrize("moved", [False, True], ids=["copied", "moved with the old path blocked"])
def test_a_copied_or_moved_home_keeps_its_own_artifacts(
    mlflow_home: Home, tmp_path: Path, moved: bool
) -> None:
    write_run(mlflow_home, 0)
    sync(mlflow_home)
    home = Home(tmp_path / "new %41" / "home")
    shutil.copytree(mlflow_home.root, home.root)
    if moved:
        shutil.rmtree(mlflow_home.root)
        mlflow_home.root.write_text("")  # no folder can be created below a file
    else:
        before = sorted(mlflow_home.root.rglob("*"))
    write_run(home, 1)
    assert sync(home).published == 1
    assert all(uri.startswith(f"{home.artifacts.as_uri()}/") for uri in locations(home).values())
    for seed in range(2):
        folder = Path(local_file_uri_to_path(locations(home)[f"seed {seed}"]))
        assert {file.name for file in folder.iterdir()} == {"metrics.jsonl", "result.json"}
    if not moved:
        assert sorted(mlflow_home.root.rglob("*")) == before
        assert str(mlflow_home.root) in "".join(locations(mlflow_home).values())


def test_artifacts_outside_a_home_keep_their_location(mlflow_home: Home, tmp_path: Path) -> None:
    write_run(mlflow_home)
    sync(mlflow_home)
    client = MlflowView(mlflow_home)._client
    own = client.create_experiment("own", "file:///elsewhere/artifacts/own")
    home = Home(mlflow_home.root.rename(tmp_path / "new"))
    rebase(home)
    client = MlflowView(home)._client
    assert client.get_experiment(own).artifact_location == "file:///elsewhere/artifacts/own"
    assert client.get_experiment_by_name("runs").artifact_location == location(home, "runs")
