from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lbench.cli.compare import command
from lbench.report.compare import difference as differences
from lbench.report.compare.comparison import compare
from lbench.report.compare.difference import RowDifference
from lbench.statistics.examples import examples, right
from tests.training.helper import lbench_run

N, CLASSES = 10_000, 10
LABELS = np.random.default_rng(0).integers(CLASSES, size=N).astype(np.int16)


def call(made_up: Any, *args: str) -> str:
    found = CliRunner().invoke(
        command, [*args, "--home", str(made_up.home.root)], catch_exceptions=False
    )
    assert found.exit_code == 0, found.output
    return found.output


def run(
    made_up: Any, name: str, seed: int, wrong: np.ndarray, *, labels: bool = True, **changes: Any
) -> Path:
    """Adds a run that has these test examples wrong, with its logits; its directory."""
    made_up.run(name, seed, 100 * float(wrong.mean()), **changes)
    (path,) = [
        directory
        for directory in made_up.home.runs.glob(f"*/seed-{seed}")
        if json.loads((directory / "spec.json").read_text())["spec"]["rule"]["name"] == name
    ]
    logits = np.zeros((N, CLASSES), dtype=np.float16)
    logits[np.arange(N), (LABELS + wrong) % CLASSES] = 5.0
    np.save(path / "test_logits.npy", logits)
    if labels:
        np.save(path / "test_labels.npy", LABELS)
    return path


def wrong(share: float, seed: int) -> np.ndarray:
    """Test examples that a network has wrong; hard ones are hard for all."""
    hard = np.random.default_rng(999).uniform(size=N) < 0.2
    return hard & (np.random.default_rng(seed).uniform(size=N) < 5 * share)


def difference(made_up: Any, first: str = "bp") -> RowDifference:
    pairs = sorted(made_up.pairs(), key=lambda pair: pair[0].rule != first)
    (found,) = compare(pairs).differences
    return found


def test_seeds_and_examples_are_tested(made_up: Any) -> None:
    mine, theirs = [], []
    for seed in range(6):
        mine.append(wrong(0.030, 10 + seed))
        theirs.append(wrong(0.020, 20 + seed))
        run(made_up, "bp", seed, theirs[-1])
        run(made_up, "lfnn_l", seed, mine[-1])
    found = difference(made_up)
    assert found.over_seeds.points is not None
    assert found.over_seeds.t_test.p is not None
    assert found.over_seeds.t_test.p < 0.05
    assert found.over_seeds.wilcoxon.p == pytest.approx(2 / 2**6)
    expected = examples(~np.stack(mine), ~np.stack(theirs))
    assert found.examples == expected
    assert found.examples is not None
    assert found.examples.points == pytest.approx(found.over_seeds.points.mean)
    assert found.mcnemar.p == expected.p
    assert (found.seeds_say, found.examples_say) == ("higher", "higher")


def test_p_values_are_adjusted_over_the_table(made_up: Any) -> None:
    for seed in range(3):
        for at, name in enumerate(("bp", "fa", "dfa", "lfnn_l")):
            run(made_up, name, seed, wrong(0.02 + 0.002 * at, 10 * at + seed))
    found = compare(made_up.pairs()).differences
    for tests in ([each.over_seeds.t_test for each in found], [each.mcnemar for each in found]):
        known = sorted((test.p or 0.0, test.holm or 0.0) for test in tests)
        smallest, adjusted = known[0]
        assert adjusted == pytest.approx(min(1.0, 3 * smallest))
        assert all(by_holm >= p for p, by_holm in known)
    text = call(made_up, "bp", "fa", "dfa", "lfnn_l")
    assert "adjusted over the tests of each column (Holm)" in text
    assert (
        "2, 3, 4 minus 1: no Wilcoxon test: it needs 6 pairs that differ, but there are 3." in text
    )


def test_one_seed_says_something_about_its_test_examples(made_up: Any) -> None:
    run(made_up, "bp", 0, wrong(0.02, 1))
    run(made_up, "lfnn_l", 0, wrong(0.05, 2))
    found = difference(made_up)
    assert (found.over_seeds.t_test.p, found.seeds_say) == (None, "")
    assert found.examples_say == "higher"
    text = call(made_up, "bp", "lfnn_l")
    assert "2 minus 1: no t test: one pair has no spread." in text
    assert "< 0.001" in text


def test_older_runs_without_labels_still_compare(made_up: Any) -> None:
    for seed in range(3):
        run(made_up, "bp", seed, wrong(0.02, seed), labels=False)
        run(made_up, "lfnn_l", seed, wrong(0.03, 10 + seed), labels=False)
    found = difference(made_up)
    assert found.over_seeds.t_test.p is not None
    assert found.examples is None
    text = call(made_up, "bp", "lfnn_l")
    assert (
        "nothing over test examples: no run of these configurations keeps test_labels.npy" in text
    )


def test_labels_of_another_run_on_the_same_data_will_do(made_up: Any) -> None:
    run(made_up, "bp", 0, wrong(0.02, 1), labels=False)
    run(made_up, "lfnn_l", 0, wrong(0.03, 2))
    assert difference(made_up).examples is not None


def test_lost_and_damaged_logits_are_told(made_up: Any) -> None:
    for seed in range(3):
        run(made_up, "bp", seed, wrong(0.02, seed))
        path = run(made_up, "lfnn_l", seed, wrong(0.03, 10 + seed)) / "test_logits.npy"
        if seed == 1:
            path.write_bytes(path.read_bytes()[:1000])
        if seed == 2:
            path.unlink()
    assert list(difference(made_up).seeds) == [0]
    text = call(made_up, "bp", "lfnn_l")
    assert "over test examples: of 1 of 3 common seeds" in text
    head, row = columns(call(made_up, "bp", "lfnn_l", "--markdown"))
    assert (row[head.index("n")], row[head.index("of seeds")]) == ("3", "1 of 3")


def test_the_table_says_of_how_many_seeds_its_examples_are(made_up: Any) -> None:
    for seed in range(3):
        run(made_up, "bp", seed, wrong(0.02, seed))
        path = run(made_up, "lfnn_l", seed, wrong(0.03, 10 + seed))
    head, row = columns(call(made_up, "bp", "lfnn_l", "--markdown"))
    assert row[head.index("of seeds")] == "3"
    (path / "test_logits.npy").unlink()
    head, row = columns(call(made_up, "bp", "lfnn_l", "--markdown"))
    assert row[head.index("of seeds")] == "2 of 3"


def columns(text: str) -> tuple[list[str], list[str]]:
    """The header and the first row of the table of differences."""
    lines = text.splitlines()
    (at,) = [at for at, line in enumerate(lines) if "McNemar p" in line]
    head, row = ([c.strip() for c in lines[i].strip("|").split("|")] for i in (at, at + 2))
    return head, row


def test_logits_that_do_not_give_the_reported_error_are_not_believed(made_up: Any) -> None:
    run(made_up, "bp", 0, wrong(0.02, 1))
    run(made_up, "lfnn_l", 0, wrong(0.03, 2), result={"test_error": 40.0})
    found = difference(made_up)
    assert found.examples is None
    assert found.mcnemar.reason is not None
    assert "its result says 40.00 %" in found.mcnemar.reason


def test_a_sequence_of_tasks_is_not_tested_by_example(made_up: Any) -> None:
    task = {"options": {"tasks": 5}}
    run(made_up, "bp", 0, wrong(0.02, 1), task=task)
    run(made_up, "lfnn_l", 0, wrong(0.03, 2), task=task)
    found = difference(made_up)
    assert found.mcnemar.reason is not None
    assert "sequence" in found.mcnemar.reason


def test_json_has_all_of_it(made_up: Any) -> None:
    for seed in range(6):
        run(made_up, "bp", seed, wrong(0.02, seed))
        run(made_up, "lfnn_l", seed, wrong(0.03, 10 + seed))
    (found,) = json.loads(call(made_up, "bp", "lfnn_l", "--json"))["differences"]
    page = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
    for name in [*found, *found["examples"], *found["mcnemar"]]:
        assert f"`{name}`" in page, name
    assert set(found["t_test"]) == {"p", "p_holm", "reason"}
    assert found["wilcoxon"]["p"] == pytest.approx(2 / 2**6)
    assert set(found["mcnemar"]) == {"p", "p_holm", "p_mid", "reason"}
    assert found["examples"]["n"] == N
    assert found["examples"]["seeds"] == list(range(6))
    low, high = found["examples"]["ci95"]
    assert low < found["examples"]["points"] < high


def test_markdown_has_the_table_too(made_up: Any) -> None:
    run(made_up, "bp", 0, wrong(0.02, 1))
    run(made_up, "lfnn_l", 0, wrong(0.03, 2))
    text = call(made_up, "bp", "lfnn_l", "--markdown")
    (head,) = [line for line in text.splitlines() if "McNemar p" in line]
    assert head.count("|") == len(differences.COLUMNS) + 1
    assert differences.MEANING in text


def test_one_cell_has_no_table_of_differences(made_up: Any) -> None:
    run(made_up, "bp", 0, wrong(0.02, 1))
    assert "McNemar" not in call(made_up, "bp")
    assert "McNemar" not in call(made_up, "bp", "--markdown")


def test_seeds_that_did_not_finish_are_counted(made_up: Any) -> None:
    for seed in range(9):
        made_up.run(seed=seed, error=2.0 + 0.1 * seed)
    made_up.run(seed=9, error=None, status="diverged", reason="loss nan at step 7")
    assert "9 of 10" in call(made_up, "bp")


def test_a_run_keeps_predictions_and_labels_that_give_its_error(tmp_path: Path) -> None:
    words = ("--rule", "bp", "--dataset", "digits", "--epochs", "1", "--no-store")
    (found,) = lbench_run(*words, home=tmp_path)["runs"]
    logits, labels = (
        np.load(Path(found["run_dir"]) / name) for name in ("test_logits.npy", "test_labels.npy")
    )
    assert labels.dtype == np.int16
    assert 100 * (1 - right(logits, labels).mean()) == pytest.approx(found["test_error"], abs=0.3)
