"""Output of commands: streams, colours, and streams that are closed or full."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lbench as lbench_package
from lbench.cli.main import main
from lbench.output.table import Table
from lbench.output.terminal import live
from tests.studies.helper import LBENCH, lbench

DIVERGING = ("--optimizer", "sgd", "--lr", "100", "--schedule", "constant", "--weight-decay", "1")
"""Options with which training diverges."""
RUN = ("run", "--rule", "bp", "--dataset", "digits", "--epochs", "1", "--threads", "1")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def on_terminal(*words: str) -> str:
    """Return all output of a command on a terminal."""
    terminal = Terminal()
    with (
        contextlib.redirect_stdout(terminal),
        contextlib.redirect_stderr(terminal),
        contextlib.suppress(SystemExit),
    ):
        main(list(words))
    return terminal.getvalue()


def shell(redirected: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, with redirections of a shell."""
    script = f'set -o pipefail; "$@" {redirected}'
    return subprocess.run(
        ["bash", "-c", script, "bash", *LBENCH, *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
    )


def test_a_diverged_run_leaves_no_escape_sequences_in_a_file(tmp_path: Path) -> None:
    output = lbench(*RUN, *DIVERGING, "--home", str(tmp_path), "--no-store")
    assert "diverged" in output.err
    assert "\x1b" not in output.err + output.out


@pytest.mark.parametrize("words", [("rules",), ("run", "--rule", "nope", "--dataset", "digits")])
@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({}, True),
        ({"NO_COLOR": ""}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_a_terminal_has_colours_unless_the_environment_turns_them_off(
    words: tuple[str, ...],
    environment: dict[str, str],
    coloured: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ("\x1b[" in on_terminal(*words)) == coloured


@pytest.mark.parametrize("name", ["FORCE_COLOR", "CLICOLOR_FORCE"])
@pytest.mark.parametrize(("value", "coloured"), [("1", True), ("0", False), ("", False)])
def test_colours_in_a_pipe_can_be_forced_and_do_not_fold_lines(
    name: str, value: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "60")
    listed = lbench("rules").out
    assert ("\x1b[" in listed) == coloured
    assert "Backpropagation: the exact gradient of the output loss" in listed
    assert ("\x1b[" in lbench("run", "--rule", "nope", "--dataset", "digits").err) == coloured


def test_only_one_function_colours_standard_error() -> None:
    folder = Path(lbench_package.__file__).parent
    styled = [path.name for path in folder.rglob("*.py") if "click.style(" in path.read_text()]
    assert styled == ["progress.py"]


def test_a_dumb_terminal_has_no_live_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert live(Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert not live(Terminal())


def test_a_table_in_a_pipe_has_no_trailing_spaces_and_no_limit_of_width(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Table("", ["words", "more"], [["a " * 1500 + "b", ""]]).print()
    lines = capsys.readouterr().out.splitlines()
    assert all(line == line.rstrip() for line in lines)
    assert any(line.count("a") == 1500 for line in lines)


def test_a_table_on_a_terminal_of_one_column_has_every_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "1")
    terminal = Terminal()
    with contextlib.redirect_stdout(terminal):
        Table("", ["word", "number"], [["abcdefgh " * 9, "12.50"]], [1]).print()
    assert terminal.getvalue().count("abcdefgh") == 9
    assert "12.50" in terminal.getvalue()


@pytest.mark.parametrize("words", [("rules",), ("rules", "--json"), ("compare",)])
def test_a_reader_that_exits_is_no_error(words: tuple[str, ...], tmp_path: Path) -> None:
    done = shell("| true", *words, LBENCH_HOME=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [("rules",), ("rules", "--json"), ("--version",)])
def test_output_that_cannot_be_written_is_an_error_without_a_traceback(
    words: tuple[str, ...],
) -> None:
    done = shell("> /dev/full", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: No space left on device: standard output\n"


def test_an_error_in_json_that_cannot_be_written_is_written_to_standard_error() -> None:
    done = shell("> /dev/full", "run", "--rule", "nope", "--dataset", "digits", "--json")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: Unknown rule 'nope'.")
    assert "Traceback" not in done.stderr


def test_a_run_needs_no_standard_error(tmp_path: Path) -> None:
    words = (*RUN, "--json", "--no-store", "--home", str(tmp_path))
    done = shell("<&- 2>&-", *words, OMP_NUM_THREADS="1")
    assert done.returncode == 0
    assert '"status": "finished"' in done.stdout


@pytest.mark.parametrize("closed", ["2>&-", "2> /dev/full", "> /dev/full 2> /dev/full"])
def test_an_error_that_cannot_be_written_keeps_its_exit_code(closed: str) -> None:
    done = shell(closed, "run", "--rule", "nope", "--dataset", "digits")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_a_command_needs_no_standard_output() -> None:
    done = shell(">&-", "rules")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_characters_that_an_encoding_lacks_end_no_command(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lbench", "rules"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        timeout=120,
    )
    assert done.returncode == 0
    assert b"softmax_regression" in done.stdout
