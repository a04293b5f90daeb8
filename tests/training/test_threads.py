"""The number of threads: the user's, that of the run's beginning, or by the network's size."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lbench import threads
from lbench.init import Init
from lbench.registry import registry
from lbench.rundir import RunDir
from lbench.threads import WAITING, requested, wait_passively
from lbench.training.job import Machine
from lbench.training.threads import PER_THREAD, multiplications, threads_for
from tests.studies.helper import lbench
from tests.training.helper import ask, run

MNIST = (1, 28, 28)


def built(name: str, **options: Any) -> Any:
    spec = registry().load("networks", name)
    return spec(**options).build(Init(0), MNIST, 10)


def test_multiplications_of_an_mlp_are_its_weights() -> None:
    network = built("mlp", widths=(260, 250))
    assert multiplications(network, MNIST) == 784 * 260 + 260 * 250


def test_multiplications_of_a_convolution_count_at_every_position() -> None:
    network = built("cnn")
    expected, outputs = 0, []
    for layer in network.layers:
        layer.affine.register_forward_hook(lambda module, given, z: outputs.append((module, z)))
    network.eval()(torch.zeros(1, *MNIST))
    for module, z in outputs:
        expected += math.prod(module.weight.shape[1:]) * math.prod(z.shape[1:])
    outputs.clear()
    assert multiplications(network, MNIST) == expected > 1e6


def test_a_small_network_has_one_thread_and_a_large_one_several() -> None:
    assert threads_for(built("mlp-275k"), MNIST, 128, cores=64) == 1
    large = built("mlp", widths=(1000,) * 4)
    expected = 128 * (784 + 3 * 1000) * 1000 // PER_THREAD
    assert expected > 2
    assert threads_for(large, MNIST, 128, cores=64) == expected
    assert threads_for(large, MNIST, 128, cores=2) == 2
    assert threads_for(large, MNIST, 1, cores=64) == 1


@pytest.mark.parametrize(
    ("text", "number"),
    [("3", 3), (" 2 ", 2), ("4,2", 4), ("", None), ("0", None), ("-1", None), ("many", None)],
)
def test_omp_num_threads_is_read_as_openmp_reads_it(
    text: str, number: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert requested() == number


def test_a_resumed_run_uses_its_recorded_number_of_threads(tmp_path: Path) -> None:
    resolved = ask("bp", examples=64)
    (outcome,) = run(tmp_path, resolved, threads=3)
    rule = resolved.cell.build(0)
    settle = Machine(torch.device("cpu"), cores=2).settle
    assert settle(resolved.cell, rule, RunDir(outcome.run_dir)).threads == 3
    assert settle(resolved.cell, rule, RunDir(tmp_path / "none")).threads == 1
    machine = Machine(torch.device("cpu"), threads=2)
    assert machine.settle(resolved.cell, rule, RunDir(outcome.run_dir)).threads == 2


@pytest.mark.parametrize(
    ("words", "environment", "number"),
    [((), "3", 3), (("--threads", "2"), "3", 2), ((), None, 1)],
)
def test_lbench_run_honours_the_option_then_omp_num_threads_then_the_size(
    words: tuple[str, ...],
    environment: str | None,
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if environment is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", environment)
    shown = lbench(
        "run", "--rule", "bp", "--dataset", "digits", "--examples", "64", "--no-store", "--json",
        "--home", str(tmp_path), *words,
    )  # fmt: skip
    spec = RunDir(Path(shown.json["runs"][0]["run_dir"])).spec() or {}
    assert spec["environment"]["threads"] == number


def test_a_container_has_the_whole_number_of_cores_in_its_quota(tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    assert threads._quota(file) is None
    for text, number in (
        ("max 100000", None), ("400000 100000", 4), ("250000 100000", 2), ("5000 100000", 1),
    ):  # fmt: skip
        file.write_text(f"{text}\n")
        assert threads._quota(file) == number


@pytest.mark.parametrize("name", WAITING)
def test_the_users_settings_of_waiting_threads_stay(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in WAITING:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, "7")
    wait_passively()
    assert [os.environ.get(other) for other in WAITING if other != name] == [None, None]
    assert os.environ[name] == "7"


def test_the_command_line_sets_the_policy_of_waiting_before_it_imports_torch() -> None:
    program = (
        "import atexit, os, sys\n"
        "from lbench.cli.main import main\n"
        "seen = lambda: f\"{os.environ['OMP_WAIT_POLICY']} {'torch' in sys.modules}\"\n"
        "atexit.register(lambda: print(seen(), file=sys.stderr))\n"
        "main(['--version'])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stderr.splitlines()[-1] == "passive False"
