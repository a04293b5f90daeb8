"""A quantity that is added to the catalogue is in every output, without further code."""

from __future__ import annotations

import csv
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lbench.home import Home
from lbench.quantities import QUANTITIES, Quantity, measured, unmeasured
from lbench.run_files import Result, problem
from lbench.rundir import read_json, write_json
from lbench.store.run_dirs import run_dirs
from tests import forked
from tests.studies.helper import ALONE

STUDY = """
title = "Small"
question = "Which error does bp have?"
datasets = ["digits"]
rules = ["bp"]
seeds = 2
figures = ["pareto:energy"]

[set]
epochs = 1
"net.widths" = [20]
"""
RUN = ["run", "--rule", "bp", "--dataset", "digits", "--epochs", "1", "--net", "widths=20"]
RUN += ["--protocol", "paper", "--seeds", "2", "--threads", "1"]
ENERGIES = (0.25, 0.75)
EXTENDED = """
import json, sys
import lbench.quantities as catalogue

energy = catalogue.Quantity(
    "energy_wh", "Wh", over_seeds="largest", title="energy", column="energy", ratio="energy_ratio",
    short="energy", objective=True, cost=True,
)
error = catalogue.Quantity("calibration_error", "%", over_seeds="mean", title="calibration error")
spikes = catalogue.Quantity(
    "events_spikes", group="events", whole=True, default=0, over_seeds="mean", title="spikes",
    column="spikes",
)
catalogue.QUANTITIES += (energy, error, spikes)

from click.testing import CliRunner
from lbench.api.results import results
from lbench.cli.main import cli
from lbench.studies.definition import OBJECTIVES
from lbench.studies.point_runs import objectives

outputs = {}
for name, words in json.loads(sys.argv[1]).items():
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    outputs[name] = done.stdout
(row,) = results(sys.argv[2]).cells.to_dict("records")
outputs["frame"] = row["energy_wh"]
outputs["objectives"] = [*OBJECTIVES, objectives({"energy_wh": 0.25}, None)["energy"]]
print(json.dumps(outputs))
"""
"""Commands of an lbench with one more quantity: their outputs, as JSON on the last line."""


def end_to_end(test: Any) -> Any:
    """Mark a test for which runs are trained and another interpreter is started."""
    return pytest.mark.slow(pytest.mark.thorough(pytest.mark.no_cover(test)))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Two runs that were recorded before the quantity was in the catalogue, and then measured."""
    root = tmp_path_factory.mktemp("quantities")
    (root / "small.toml").write_text(STUDY)
    words = ["study", str(root / "small.toml"), "--home", str(root / "home"), *ALONE]
    done = forked.run(*words)
    assert done.returncode == 0, done.stderr
    home = Home(root / "home")
    for run_dir in run_dirs(home):
        path = run_dir.path / "result.json"
        seed = (run_dir.spec() or {})["seed"]
        more = {"energy_wh": ENERGIES[seed], "calibration_error": 2.5}
        more |= {"events": {"spikes": 7}} if seed == 0 else {}
        write_json(path, {**(read_json(path) or {}), **more})
    return home


@pytest.fixture(scope="module")
def outputs(home: Home) -> dict[str, Any]:
    """What commands print with the quantity in the catalogue."""
    words = {
        "sync": ["sync", "--json"],
        "run": [*RUN, "--json"],
        "run_table": RUN,
        "compare": ["compare", "bp", "--json"],
        "compare_table": ["compare", "bp"],
        "report": ["report", str(home.root.parent / "small.toml"), "--json"],
    }
    at_home = json.dumps({name: [*args, "--home", str(home.root)] for name, args in words.items()})
    command = [sys.executable, "-c", EXTENDED, at_home, str(home.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    outputs: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outputs


@end_to_end
def test_a_new_quantity_has_a_column_in_an_older_store(home: Home, outputs: dict[str, Any]) -> None:
    with closing(sqlite3.connect(home.root / "store.db")) as store:
        found = store.execute("SELECT energy_wh FROM lbench_runs ORDER BY seed").fetchall()
    assert [value for (value,) in found] == list(ENERGIES)


@end_to_end
def test_a_new_quantity_is_a_metric_of_mlflow(home: Home, outputs: dict[str, Any]) -> None:
    query = "SELECT key, value FROM latest_metrics WHERE key LIKE '%energy%' ORDER BY key, value"
    with closing(sqlite3.connect(home.root / "store.db")) as store:
        found = store.execute(query).fetchall()
    assert found == [("energy_wh_mean", 0.5), *[("system/energy_wh", wh) for wh in ENERGIES]]


@end_to_end
def test_a_new_quantity_is_in_the_json_and_the_table_of_runs(outputs: dict[str, Any]) -> None:
    assert [run["energy_wh"] for run in json.loads(outputs["run"])["runs"]] == list(ENERGIES)
    (line,) = [line for line in outputs["run_table"].splitlines() if "energy" in line]
    assert line.split() == ["energy", "Wh", "0.50"]


@end_to_end
def test_a_new_quantity_is_compared(outputs: dict[str, Any]) -> None:
    (cell,) = json.loads(outputs["compare"])["cells"]
    assert (cell["energy_wh"], cell["energy_ratio"]) == (0.75, 1.0)
    assert "energy Wh" in outputs["compare_table"]
    assert outputs["frame"] == 0.75


@end_to_end
def test_a_new_quantity_is_in_the_report_of_a_study(home: Home, outputs: dict[str, Any]) -> None:
    report = Path(json.loads(outputs["report"])["report"]).parent
    with (report / "table.csv").open() as table, (report / "runs.csv").open() as runs:
        assert [row["energy_wh"] for row in csv.DictReader(table)] == ["0.75"]
        assert [float(row["energy_wh"]) for row in csv.DictReader(runs)] == list(ENERGIES)
    assert "energy Wh" in (report / "table.md").read_text()
    with (report / "figures" / "pareto-energy.csv").open() as figure:
        assert [row["energy"] for row in csv.DictReader(figure)] == ["0.75"]


@end_to_end
def test_new_quantities_of_other_kinds_are_in_every_output(
    home: Home, outputs: dict[str, Any]
) -> None:
    with closing(sqlite3.connect(home.root / "store.db")) as store:
        query = "SELECT calibration_error, events_spikes FROM lbench_runs ORDER BY seed"
        assert store.execute(query).fetchall() == [(2.5, 7), (2.5, 0)]
    rows = [line.split() for line in outputs["run_table"].splitlines()]
    assert ["calibration", "error", "%", "2.50"] in rows
    assert ["spikes", "3.50"] in rows
    (cell,) = json.loads(outputs["compare"])["cells"]
    assert (cell["calibration_error"], cell["events_spikes"]) == (2.5, 3.5)


@end_to_end
def test_a_search_can_minimise_a_new_quantity(outputs: dict[str, Any]) -> None:
    assert outputs["objectives"][-3:] == ["energy", "params", 0.25]


def test_a_quantity_of_a_group_is_in_the_object_of_that_name() -> None:
    values = measured({"seconds": {"training": 2.5}, "test_error": 1.5})
    assert (values["seconds_training"], values["seconds_other"]) == (2.5, None)
    assert (values["test_error"], values["step_ms"], values["test_reads"]) == (1.5, None, 0)
    assert unmeasured()["seconds"] is None


def test_the_value_over_seeds_leaves_out_seeds_without_one() -> None:
    values = [1.0, None, 3.0, 5.0]
    found = [Quantity("q", over_seeds=how).combined(values) for how in ("mean", "largest", "least")]
    assert found == [3.0, 5.0, 1.0]
    assert Quantity("q", over_seeds="mean").combined([None]) is None
    assert Quantity("q").combined(values) is None


def test_a_quantity_in_a_table_of_configurations_needs_a_value_over_seeds() -> None:
    for part in ({"column": "q"}, {"ratio": "q_ratio"}, {"cost": True}):
        with pytest.raises(ValueError, match="over_seeds"):
            Quantity("q", **part)  # type: ignore[arg-type]


@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda quantity: quantity.name)
def test_a_result_with_text_for_a_quantity_is_refused(quantity: Quantity) -> None:
    result: dict[str, Any] = {"status": "failed", "ended": 1.0}
    value = {"training": "long"} if quantity.group else "many"
    assert problem(Result, result) is None
    assert quantity.field in (problem(Result, {**result, quantity.field: value}) or "")


def test_every_quantity_is_described() -> None:
    page = (Path(__file__).parents[1] / "docs" / "json.md").read_text()
    assert [q.field for q in QUANTITIES if f"`{q.field}`" not in page] == []
