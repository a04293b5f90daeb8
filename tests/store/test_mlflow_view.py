from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lbench.errors import StoreError
from lbench.home import Home
from lbench.store import mlflow_content, mlflow_view
from lbench.store.mlflow_content import RunView
from lbench.store.mlflow_view import MlflowView
from lbench.store.record import Record
from lbench.store.run_dir_reader import ABANDONED
from lbench.store.run_dirs import run_dirs
from lbench.store.sync import sync
from tests.store.helper import STARTED, cell_spec, write_run

Publish = Callable[..., list[Any]]
BOTH_ORDERS = """
import sys
from pathlib import Path
from lbench.home import Home
from lbench.store.mlflow_page import mlflow_uri
from lbench.store.mlflow_view import MlflowView
from lbench.store.record import Record
home = Home(Path(sys.argv[1]))
if sys.argv[2] == "mlflow first":
    from mlflow import MlflowClient
    home.root.mkdir()
    MlflowClient(tracking_uri=mlflow_uri(home)).search_experiments()
    assert Record.open(home).cells() == []
else:
    Record.open(home).close()
MlflowView(home)
import mlflow.store.db.utils as utils
engine = utils.create_sqlalchemy_engine(mlflow_uri(home))
utils._upgrade_db(engine)
utils._verify_schema(engine)
assert Record.open(home).cells() == []
"""


@pytest.fixture
def publish(mlflow_home: Home) -> Publish:
    """Return a function that records and publishes all runs and returns those of MLflow."""

    def do() -> list[Any]:
        view = MlflowView(mlflow_home)
        with Record.open(mlflow_home) as record:
            for run_dir in run_dirs(mlflow_home):
                record.take(run_dir)
            for cell in record.cells():
                view.publish(record, cell.fingerprint)
        return list(view._client.search_runs(view.experiments()))

    return do


def children(runs: list[Any]) -> dict[str, Any]:
    return {r.info.run_name: r for r in runs if r.data.tags["lbench.kind"] == "run"}


def cell_run(runs: list[Any]) -> Any:
    (parent,) = [run for run in runs if run.data.tags["lbench.kind"] == "cell"]
    return parent


def test_a_configuration_is_a_parent_run_and_each_seed_a_child(
    mlflow_home: Home, publish: Publish
) -> None:
    for seed in range(3):
        write_run(mlflow_home, seed)
    runs = publish()
    parent = cell_run(runs)
    assert parent.info.run_name.startswith("lfnn_l/mnist/mlp-275k/leadership=0.7@")
    assert parent.data.metrics["test_error_mean"] == pytest.approx(1.85)
    assert parent.data.metrics["n"] == 3
    assert parent.data.metrics["test_error_ci95_low"] < 1.85
    assert parent.data.params["rule.leadership"] == "0.7"
    assert parent.data.params["task.epochs"] == "15"
    seeds = children(runs)
    assert sorted(seeds) == ["seed 0", "seed 1", "seed 2"]
    for run in seeds.values():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.status == "FINISHED"
        assert len(run.data.metrics) <= 25
    first = seeds["seed 0"]
    assert first.info.start_time == 1000 * STARTED
    assert first.info.end_time == 1000 * (STARTED + 2.1 * 15 + 1)
    (dataset,) = first.inputs.dataset_inputs
    assert dataset.dataset.name == "MNIST"
    assert first.data.params["task.digest"].startswith(dataset.dataset.digest)


def test_curves_have_one_step_per_epoch_and_the_time_of_training(
    mlflow_home: Home, publish: Publish
) -> None:
    for seed in range(2):
        write_run(mlflow_home, seed)
    runs = publish()
    client = MlflowView(mlflow_home)._client
    seeds, parent = children(runs), cell_run(runs)
    curve = client.get_metric_history(seeds["seed 0"].info.run_id, "val_error")
    assert [point.step for point in curve] == list(range(1, 16))
    assert curve[0].timestamp == 1000 * (STARTED + 2.07)
    mean = client.get_metric_history(parent.info.run_id, "val_error")
    assert mean[0].value == pytest.approx(1.9 + 6 * math.exp(-1 / 4) + 0.035, rel=1e-5)
    files = [file.path for file in client.list_artifacts(seeds["seed 0"].info.run_id)]
    assert files == ["metrics.jsonl", "result.json"]


def test_publishing_twice_gives_the_same_runs(mlflow_home: Home, publish: Publish) -> None:
    for seed in range(2):
        write_run(mlflow_home, seed)
    before = {run.info.run_id: run.to_dictionary() for run in publish()}
    assert {run.info.run_id: run.to_dictionary() for run in publish()} == before


def test_another_seed_replaces_the_mean(mlflow_home: Home, publish: Publish) -> None:
    write_run(mlflow_home, 0)
    before = cell_run(publish())
    assert "test_error_sd" not in before.data.metrics
    write_run(mlflow_home, 1)
    after = cell_run(publish())
    assert after.info.run_id == before.info.run_id
    assert after.data.metrics["test_error_mean"] == pytest.approx(1.825)
    client = MlflowView(mlflow_home)._client
    for name in ("val_error", "test_error_mean"):
        steps = [point.step for point in client.get_metric_history(after.info.run_id, name)]
        assert len(steps) == len(set(steps))


@pytest.mark.parametrize(
    ("status", "reason", "mlflow"),
    [
        ("diverged", "loss nan at step 17", "FAILED"),
        ("failed", "out of memory", "FAILED"),
        ("killed", ABANDONED, "KILLED"),
    ],
)
def test_a_run_that_did_not_finish_keeps_its_reason(
    mlflow_home: Home, publish: Publish, status: str, reason: str, mlflow: str
) -> None:
    write_run(mlflow_home, 0)
    write_run(mlflow_home, 1, status=status, reason=reason, epochs=1)
    runs = publish()
    run = children(runs)["seed 1"]
    assert run.info.status == mlflow
    assert run.data.tags["lbench.status"] == status
    assert run.data.tags["lbench.reason"] == reason
    assert cell_run(runs).data.tags["lbench.status"] == f"1 finished, 1 {status}"
    assert cell_run(runs).data.metrics["n"] == 1


def test_the_audit_is_in_tags_of_the_configuration_and_its_runs(
    mlflow_home: Home, publish: Publish
) -> None:
    def audit(free: bool, depth: Any) -> dict[str, Any]:
        depths = {"claimed": 0, "measured": depth}
        return {"bp_free": {"claimed": True, "measured": free}, "backward_depth": depths}

    def tags(run: Any) -> dict[str, str]:
        return {k: v for k, v in run.data.tags.items() if k.startswith("audit.")}

    contradictions = ["bp_free: claimed yes, measured no", "backward_depth: claimed 0, measured 1"]
    write_run(mlflow_home, 0, audit=audit(True, 0))
    write_run(mlflow_home, 1, audit=audit(False, 1), contradictions=contradictions)
    write_run(mlflow_home, 2)
    runs = publish()
    seeds = children(runs)
    assert tags(seeds["seed 0"]) == {"audit.bp_free": "True", "audit.backward_depth": "0"}
    assert tags(seeds["seed 2"]) == {}
    worst = {
        "audit.bp_free": "False",
        "audit.backward_depth": "1",
        "audit.contradictions": "\n".join(contradictions),
    }
    assert tags(seeds["seed 1"]) == tags(cell_run(runs)) == worst
    write_run(mlflow_home, 1, audit=audit(True, 0))
    again = publish()
    assert tags(children(again)["seed 1"]) == tags(cell_run(again)) == tags(seeds["seed 0"])


def test_a_running_run_has_no_end_time_until_it_has_ended(
    mlflow_home: Home, publish: Publish
) -> None:
    run_dir = write_run(mlflow_home, status="killed", epochs=2)
    with run_dir.locked():
        (run,) = children(publish()).values()
    assert (run.info.status, run.info.end_time) == ("RUNNING", None)
    write_run(mlflow_home)
    (again,) = children(publish()).values()
    assert again.info.run_id == run.info.run_id
    assert again.info.status == "FINISHED"


def test_each_attempt_has_an_mlflow_run(mlflow_home: Home, publish: Publish) -> None:
    write_run(mlflow_home)
    write_run(mlflow_home, attempt=2, test_error=9.0)
    runs = publish()
    assert sorted(children(runs)) == ["seed 0", "seed 0, attempt 2"]
    assert cell_run(runs).data.metrics["test_error_mean"] == 9.0


def test_the_record_has_the_mlflow_ids(mlflow_home: Home, publish: Publish) -> None:
    write_run(mlflow_home)
    runs = publish()
    with Record.open(mlflow_home) as record:
        cell = record.cells()[0]
        assert cell.mlflow_run_id == cell_run(runs).info.run_id
        assert record.runs(cell)[0].mlflow_run_id == children(runs)["seed 0"].info.run_id


def test_a_damaged_epoch_log_loses_only_the_curves(mlflow_home: Home, publish: Publish) -> None:
    run_dir = write_run(mlflow_home)
    run_dir.epoch_log.write_text("nonsense\n")
    (run,) = children(publish()).values()
    assert "metrics.jsonl" in run.data.tags["lbench.problem"]
    assert run.data.metrics["test_error"] == 1.8


def test_an_option_named_code_keeps_its_longer_name(mlflow_home: Home, publish: Publish) -> None:
    spec = cell_spec(code="abc")
    spec["rule"]["config"] = {"code": 3, "a[b]": 1}
    write_run(mlflow_home, spec=spec)
    parameters = cell_run(publish()).data.params
    assert parameters["rule.code"] == "abc"
    assert parameters["rule.config.code"] == "3"
    assert parameters["rule.a_b_"] == "1"


def test_a_store_that_mlflow_cannot_read_is_a_store_error(mlflow_home: Home) -> None:
    with Record.open(mlflow_home) as record, record._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'older'")
    with pytest.raises(StoreError, match="MLflow") as error:
        MlflowView(mlflow_home)
    assert "mlflow db upgrade" in error.value.hint


def test_the_newer_of_two_publications_remains(
    mlflow_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, published = threading.Event(), threading.Event()

    def slow_for_the_older(*content: Any) -> RunView:
        if threading.current_thread() is older:
            started.set()
            published.wait(1)
        return mlflow_content.parent(*content)

    def publish() -> None:
        with Record.open(mlflow_home) as own:
            MlflowView(mlflow_home).publish(own, cell.fingerprint)

    monkeypatch.setattr(mlflow_view, "parent", slow_for_the_older)

    with Record.open(mlflow_home) as record:
        record.take(write_run(mlflow_home, 0))
        (cell,) = record.cells()
        older = threading.Thread(target=publish)
        older.start()
        assert started.wait(60)
        record.take(write_run(mlflow_home, 1))
        publish()
        published.set()
        older.join()
    view = MlflowView(mlflow_home)
    parent = cell_run(list(view._client.search_runs(view.experiments())))
    assert parent.data.metrics["n"] == 2


def test_a_home_may_have_any_name(tmp_path: Path) -> None:
    home = Home(tmp_path / "q?x=1" / "ö #% h")
    write_run(home)
    assert sync(home).published == 1
    view = MlflowView(home)
    (run,) = children(list(view._client.search_runs(view.experiments()))).values()
    assert "result.json" in [file.path for file in view._client.list_artifacts(run.info.run_id)]
    assert [path.name for path in tmp_path.iterdir()] == ["q?x=1"]
    assert {path.name for path in home.root.iterdir()} >= {"store.db", "runs", "artifacts"}


@pytest.mark.parametrize("order", ["mlflow first", "record first"])
def test_the_tables_are_created_in_either_order(home: Home, order: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BOTH_ORDERS, str(home.root), order],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_record_is_imported_without_mlflow() -> None:
    code = "import sys, lbench.store.record, lbench.store.sync; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
