from __future__ import annotations

from typing import Any

import pytest

from lbench.audit_pages.words import short
from lbench.report.quantity_text import BUSY_NOTE
from lbench.report.summary import render_run
from lbench.store.mlflow_content import metrics


def run(seed: int, error: float | None, status: str = "finished") -> dict[str, Any]:
    return {
        "seed": seed,
        "status": status,
        "reason": None if status == "finished" else "loss nan at step 3",
        "cached": False,
        "train_error": error,
        "val_error": error,
        "test_error": error,
        "test_error_at_best_val": error,
        "seconds": {"training": 31.2, "evaluation": 0.8, "other": 2.1},
        "step_ms": 3.1,
        "peak_memory_mib": 412.0,
    }


def result(*runs: dict[str, Any], test: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "rule": "lfnn_l",
        "dataset": "mnist",
        "title": "MNIST",
        "variant": "canonical",
        "network": "mlp-275k",
        "blocks": 2,
        "protocol": "strict",
        "cell": "lfnn_l/mnist/mlp-275k@1a2b3c4d",
        "test_examples": 10_000,
        "runs": list(runs),
        "test_error": test,
        "params": {"inf": 274_570, "aux": 0, "fix": 2600},
        "published": [
            {
                "rule": "lfnn_l",
                "dataset": "mnist",
                "network": "272K-275K parameters, network not stated",
                "same_network": "not stated",
                "augmentation": "none",
                "setting": "",
                "selected": "test set",
                "test_error": 1.49,
                "train_error": None,
                "source": "Yin et al. 2023",
                "origin": "own runs",
                "note": "a caution",
            }
        ],
    }


def test_one_seed_is_labelled_as_sampling_only(capsys: pytest.CaptureFixture[str]) -> None:
    render_run(result(run(0, 1.8), test={"mean": 1.8, "sd": None, "ci95": None, "n": 1}))
    text = capsys.readouterr().out
    assert "1.80 [1.56, 2.08]*" in text
    assert "* One seed" in text
    assert "274,570 for prediction, 2,600 fixed" in text
    assert "mlp-275k in 2 blocks on MNIST, protocol strict" in text


def test_several_seeds_show_their_interval(capsys: pytest.CaptureFixture[str]) -> None:
    test = {"mean": 1.85, "sd": 0.07, "ci95": [1.21, 2.49], "n": 2}
    render_run(result(run(0, 1.8), run(1, 1.9), test=test))
    text = capsys.readouterr().out
    assert "1.85 [1.21, 2.49]" in text
    assert "One seed" not in text
    assert "mean of 2 seeds" in text


def test_every_seed_has_its_status_when_one_did_not_finish(
    capsys: pytest.CaptureFixture[str],
) -> None:
    test = {"mean": 1.8, "sd": None, "ci95": None, "n": 1}
    render_run(result(run(0, 1.8), run(1, None, "diverged"), test=test))
    text = capsys.readouterr().out
    assert "1 of 2" in text
    assert "seed 1" in text
    assert "diverged" in text


def test_nothing_finished_is_still_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    render_run(result(run(0, None, "diverged")))
    assert "0 of 1" in capsys.readouterr().out


def test_published_numbers_have_network_selection_and_caution(
    capsys: pytest.CaptureFixture[str],
) -> None:
    render_run(result(run(0, 1.8), test={"mean": 1.8, "sd": None, "ci95": None, "n": 1}))
    _, _, published = capsys.readouterr().out.partition("Published")
    assert "1.49" in published
    assert "network not stated" in published
    assert "test set" in published
    assert "[1] Yin et al. 2023 (own runs): a caution." in published


AUDIT = {
    "bp_free": {"claimed": True, "measured": True},
    "backward_depth": {"claimed": 0, "measured": 0},
    "update_locked": {"claimed": False, "measured": False},
}
TEST = {"mean": 1.8, "sd": None, "ci95": None, "n": 1}


def test_the_audit_is_shown_in_the_words_of_the_claims(capsys: pytest.CaptureFixture[str]) -> None:
    render_run({**result(run(0, 1.8), test=TEST), "audit": AUDIT, "contradictions": []})
    assert "BP-free, backward depth 0, not update-locked" in capsys.readouterr().out
    render_run(result(run(0, 1.8), test=TEST))
    (line,) = [
        line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["audit"]
    ]
    assert line.split() == ["audit", "—"]


def test_what_the_audit_could_not_measure_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    unseen = {
        name: {"claimed": entry["claimed"], "measured": None if name != "update_locked" else False}
        for name, entry in AUDIT.items()
    }
    render_run({**result(run(0, 1.8), test=TEST), "audit": unseen, "contradictions": []})
    printed = " ".join(capsys.readouterr().out.split())
    assert "not update-locked, BP-free not measurable, backward depth not measurable" in printed
    assert short(unseen, []) == "not measurable"
    assert short(unseen | {"bp_free": {"claimed": None, "measured": False}}, []) == "not BP-free"
    nothing = {name: {"claimed": None, "measured": None} for name in AUDIT}
    assert short(nothing, []) == short(None, []) == "—"


def test_contradictions_are_red_with_one_per_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    contradictions = [
        "writes: fc2.weight was changed",
        "randomness: the step drew from the global generator",
    ]
    shown = {**result(run(0, 1.8), test=TEST), "audit": AUDIT, "contradictions": contradictions}
    render_run(shown)
    text = capsys.readouterr().out
    assert all(f"CONTRADICTED: {each}" in text for each in contradictions)
    assert "BP-free" not in text
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    render_run(shown)
    lines = [line for line in capsys.readouterr().out.splitlines() if "\x1b[31m" in line]
    assert len(lines) == 2
    assert all("CONTRADICTED" in line for line in lines)


def test_metrics_count_finished_seeds_alone(made_up: Any) -> None:
    made_up.run(seed=0, error=1.8)
    made_up.run(seed=1, error=2.0)
    made_up.run(seed=2, error=None, status="failed")
    ((cell, runs),) = made_up.pairs()
    found = metrics(cell, runs)
    assert found["test_error_mean"] == pytest.approx(1.9)
    assert (found["n"], found["not_finished"]) == (2.0, 1.0)
    assert found["val_error_mean"] is None
    assert len(found) <= 25
    assert metrics(cell, [])["test_error_mean"] is None


def test_metrics_have_the_interval_of_an_error(made_up: Any) -> None:
    for seed in range(2):
        made_up.run(seed=seed, error=1.8)
    ((cell, runs),) = made_up.pairs()
    found = metrics(cell, runs)
    low, high = (found[f"test_error_ci95_{end}"] for end in ("low", "high"))
    assert (low, high) == pytest.approx((1.8 - 0.015, 1.8 + 0.015))


def test_a_step_time_measured_beside_other_work_is_marked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    render_run(result({**run(0, 1.8), "core_share": 0.95}))
    assert "†" not in capsys.readouterr().out
    render_run(result({**run(0, 1.8), "core_share": 0.95}, {**run(1, 1.8), "core_share": 0.6}))
    said = capsys.readouterr().out
    assert "3.10†" in said
    assert BUSY_NOTE in " ".join(said.split())


def test_how_many_steps_were_looked_at_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    looked = [{**run(0, 1.8), "steps": 4220, "glances": [{}] * 14}]
    render_run(result(*looked, test=TEST))
    assert "14 of 4,220" in capsys.readouterr().out
    looked.append({**run(1, 1.8), "steps": 4220, "glances": [{}] * 13})
    render_run(result(*looked, test=TEST))
    assert "13 to 14 of 4,220" in capsys.readouterr().out
