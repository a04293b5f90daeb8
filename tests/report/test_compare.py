from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

import lbench
from lbench.cli.compare import command
from lbench.errors import UsageError
from lbench.output import table, terminal
from lbench.published import citations
from lbench.report import quantity_text, render
from lbench.report.compare import difference
from lbench.report.compare.comparison import compare
from lbench.report.compare.row import rows
from lbench.rundir import RunDir


def call(made_up: Any, *args: str) -> str:
    found = CliRunner().invoke(
        command, [*args, "--home", str(made_up.home.root)], catch_exceptions=False
    )
    assert found.exit_code == 0, found.output
    return found.output


def test_a_row_has_mean_and_interval_over_finished_seeds(made_up: Any) -> None:
    for seed, error in enumerate([1.8, 1.9, 2.0]):
        made_up.run(seed=seed, error=error)
    (row,) = rows(made_up.pairs())
    assert row.test is not None
    assert row.test.n == 3
    assert row.test.mean == pytest.approx(1.9)
    assert render.error(row.test) == "1.90 [1.65, 2.15]"
    assert row.sampling is None


def test_seeds_of_the_same_error_have_an_interval(made_up: Any) -> None:
    for seed in range(2):
        made_up.run(seed=seed, error=4.74)
        made_up.run("lfnn_l", seed, (4.3226, 5.5174)[seed])
        made_up.run("fa", seed, (18.944, 72.146)[seed])
    text = call(made_up)
    # 1.5 of 10,000 examples; and nothing below 0 or above 100 %.
    for shown in ("4.74 [4.73, 4.75]", "4.92 [0.00, 12.51]", "45.55 [0.00, 100.00]"):
        assert shown in text
    cells = json.loads(call(made_up, "--json"))
    assert all(0 <= end <= 100 for cell in cells for end in cell["test_error"]["ci95"])
    differences = compare(made_up.pairs()).differences
    assert all(
        each.over_seeds.points and each.over_seeds.points.low != each.over_seeds.points.high
        for each in differences
    )


def test_a_constant_difference_is_not_exact(made_up: Any) -> None:
    for seed, error in enumerate([1.8, 1.9, 2.0]):
        made_up.run("bp", seed, error)
        made_up.run("lfnn_l", seed, error + 0.5)
    (difference,) = compare(made_up.pairs()).differences
    assert difference.over_seeds.points is not None
    assert difference.over_seeds.points.low == pytest.approx(
        difference.over_seeds.points.mean - 0.0123, abs=1e-4
    )
    assert difference.over_seeds.t_test.p is not None
    assert difference.over_seeds.t_test.p < 0.001
    assert "+0.50 [+0.49, +0.51]" in call(made_up, "bp", "lfnn_l")


def test_one_seed_shows_the_sampling_error_of_its_test_set(made_up: Any) -> None:
    made_up.run(error=1.8)
    (row,) = rows(made_up.pairs())
    assert row.sampling == pytest.approx((1.557, 2.080), abs=0.001)
    text = call(made_up, "bp")
    assert "1.80 [1.56, 2.08]*" in text
    assert render.SAMPLING in text


def test_reports_read_the_record_and_nothing_else(made_up: Any) -> None:
    made_up.run(error=1.8)
    (path,) = made_up.home.runs.glob("*/*/spec.json")
    path.write_text("{")
    assert "1.80 [1.56, 2.08]*" in call(made_up, "bp")
    path.unlink()
    assert "1.80 [1.56, 2.08]*" in call(made_up)


def test_a_run_that_was_killed_without_a_word_is_not_running(made_up: Any) -> None:
    made_up.run(seed=0, error=1.8)
    (path,) = made_up.home.runs.glob("*/*/result.json")
    path.unlink()
    directory = RunDir(path.parent)
    with directory.locked():
        made_up.record.take(directory)
        assert "1 running" in call(made_up)
    assert "1 killed" in call(made_up)
    assert "continues from its checkpoint" in call(made_up, "bp")


def test_runs_that_did_not_finish_are_counted_and_their_reason_is_told(made_up: Any) -> None:
    made_up.run(seed=0, error=1.8)
    made_up.run(seed=1, error=None, status="diverged", reason="loss nan at step 7")
    made_up.run(seed=2, error=None, status="failed", reason="out of memory")
    text = call(made_up, "bp")
    assert "1 diverged, 1 failed" in text
    assert "1, seed 1 is diverged: loss nan at step 7" in text
    assert "1 diverged, 1 failed" in call(made_up)


def test_a_cell_without_a_finished_run_keeps_its_row(made_up: Any) -> None:
    made_up.run(error=None, status="failed", reason="out of memory")
    (row,) = rows(made_up.pairs())
    assert row.test is None
    assert row.measured["step_ms"] is None
    assert "1 failed" in call(made_up, "bp")


def test_differences_are_paired_over_common_seeds(made_up: Any) -> None:
    for seed, error in enumerate([1.0, 5.0, 9.0]):
        made_up.run("bp", seed, error)
        made_up.run("lfnn_l", seed, error + 0.5 + 0.01 * seed)
    made_up.run("lfnn_l", 3, 80.0)
    comparison = compare(made_up.pairs())
    (difference,) = comparison.differences
    assert difference.over_seeds.points is not None
    assert difference.over_seeds.points.n == 3
    assert difference.over_seeds.points.mean == pytest.approx(0.51)
    assert "seeds" in [term.name for term in comparison.unequal]


def test_equal_terms_leave_nothing_to_say(made_up: Any) -> None:
    made_up.run("bp")
    made_up.run("lfnn_l", rule={"code": "0ther"})
    assert compare(made_up.pairs()).unequal == []


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"task": {"digest": "0" * 64}}, "data digest", "0" * 12),
        ({"task": {"protocol": "paper"}}, "protocol", "paper"),
        ({"task": {"budget": {"epochs": 30}}}, "budget epochs", "30"),
        ({"task": {"budget": {"examples": 1000}}}, "budget examples", "1000"),
        ({"task": {"augmentation": "crop4,flip"}}, "augmentation", "crop4,flip"),
        ({"task": {"labels": 0.05}}, "labels", "0.05"),
        ({"precision": "bf16"}, "precision", "bf16"),
        ({"microbatch": 8}, "microbatch", "8"),
        ({"network": {"options": {"widths": [300]}}}, "network options", "widths=300"),
        ({"environment": {"device": "cuda:0", "threads": 2}}, "device", "cuda:0"),
        ({"seed": 5}, "seeds", "5"),
        ({"rule": {"code": "01d"}}, "code of the rule", "01d"),
    ],
)
def test_unequal_terms_are_named_with_their_values(
    made_up: Any, changes: dict[str, Any], name: str, value: str
) -> None:
    made_up.run()
    made_up.run(options="again", **changes)
    comparison = compare(made_up.pairs())
    assert name in [term.name for term in comparison.unequal]
    lines = [line for line in render.notes(comparison) if line.startswith(f"UNEQUAL {name}: ")]
    assert len(lines) == 1
    assert value in lines[0]
    assert f"UNEQUAL {name}: " in render.to_markdown(comparison)
    assert name in [term["what"] for term in comparison.as_dict()["unequal"]]


def test_cells_on_other_data_are_not_subtracted(made_up: Any) -> None:
    made_up.run()
    made_up.run("lfnn_l", task={"digest": "0" * 64}, data={"title": "CIFAR-10 (JPEG)"})
    comparison = compare(made_up.pairs())
    assert comparison.differences[0].over_seeds.points is None
    assert "2 minus 1: no difference: other data" in call(made_up, "bp", "lfnn_l")


def test_a_rule_may_have_its_own_recipe_and_it_is_said(made_up: Any) -> None:
    made_up.run()
    made_up.run("lfnn_l", recipe={"lr": 0.01})
    comparison = compare(made_up.pairs())
    assert comparison.unequal == []
    assert "Recipes differ in lr: 0.001 in 1; 0.01 in 2" in render.notes(comparison)


def test_published_numbers_stand_apart(made_up: Any) -> None:
    made_up.run()
    made_up.run("lfnn_l", rule={"config": {"leadership": 0.7}})
    content = json.loads(call(made_up, "bp", "lfnn_l", "--json"))
    assert [row["test_error"]["mean"] for row in content["cells"]] == [2.0, 2.0]
    assert 1.49 in [row["test_error"] for row in content["published"]]
    assert all(row["audit"] is None for row in content["cells"])
    ours, _, theirs = call(made_up, "bp", "lfnn_l").partition(citations.TITLE)
    assert "1.49" not in ours
    assert "1.49" in theirs


def test_times_are_given_as_a_ratio_to_the_first_cell(made_up: Any) -> None:
    made_up.run("bp", result={"step_ms": 2.0})
    made_up.run("lfnn_l", result={"step_ms": 3.0})
    assert [row.ratios["step_ms"] for row in rows(made_up.pairs())] == [1.0, 1.5]


def test_a_step_time_measured_beside_other_work_is_marked(made_up: Any) -> None:
    made_up.run("bp", result={"step_ms": 2.0, "core_share": 0.98})
    assert quantity_text.BUSY_NOTE not in call(made_up, "bp")
    made_up.run("lfnn_l", result={"step_ms": 3.0, "core_share": 0.5})
    said = call(made_up, "bp", "lfnn_l")
    assert " 2.00 " in said
    assert " 3.00† " in said
    assert said.count("† Other processes wanted the cores") == 1


def test_operations_of_a_step_and_of_a_prediction_are_columns(made_up: Any) -> None:
    made_up.run("bp", result={"step_flops": 158_279_680.0, "predict_flops": 548_080.0})
    made_up.run("lfnn_l")  # made by an older lbench
    first, second = json.loads(call(made_up, "bp", "lfnn_l", "--json"))["cells"]
    assert (first["step_flops"], first["predict_flops"]) == (158_279_680.0, 548_080.0)
    assert (second["step_flops"], second["predict_flops"]) == (None, None)
    text = call(made_up, "bp", "lfnn_l")
    assert "158.28" in text
    assert "0.548" in text


@pytest.mark.parametrize("top5", [None, 12.5])
def test_a_narrow_terminal_loses_no_column(made_up: Any, top5: float | None) -> None:
    made_up.run(result={"test_error_top5": top5})
    made_up.run("lfnn_l")  # made by an older lbench, or with fewer classes
    shown = render.table(compare(made_up.pairs()))
    assert set(render.COLUMNS) - set(shown.columns) == (set() if top5 else {"top-5 %"})
    assert len(shown.layouts) == 2
    for layout in shown.layouts:
        found = {at for part in layout for at in part}
        assert sorted(found) == list(range(len(shown.columns)))


def test_the_top_5_error_is_a_column_with_its_interval_in_json(made_up: Any) -> None:
    for seed, top5 in enumerate((40.0, 44.0)):
        made_up.run("bp", seed, result={"test_error_top5": top5})
    made_up.run("lfnn_l")
    first, second = json.loads(call(made_up, "bp", "lfnn_l", "--json"))["cells"]
    assert (first["test_error_top5"]["mean"], first["test_error_top5"]["n"]) == (42.0, 2)
    low, high = first["test_error_top5"]["ci95"]
    assert low < 40 < 44 < high
    assert second["test_error_top5"] is None
    assert " 42.00 " in call(made_up, "bp", "lfnn_l")
    frames = lbench.results(made_up.home.root)
    assert frames.cells["test_error_top5"].dropna().tolist() == [42.0]
    assert frames.runs["test_error_top5"].dropna().tolist() == [40.0, 44.0]


def test_tables_in_80_columns_have_whole_words(
    made_up: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rule, seeds in (("bp", 2), ("lfnn_l", 1), ("softmax_regression", 2)):
        for seed in range(seeds):
            made_up.run(rule, seed, 10.0 + seed, options="leadership=0.5,selection=example")
    for module in (table, terminal):
        monkeypatch.setattr(module, "columns", lambda: 80)
    text = call(made_up, "bp", "lfnn_l", "softmax_regression")
    assert max(map(len, text.splitlines())) <= 80
    words = set(text.split())
    shown = set(render.COLUMNS) - {"top-5 %"}
    assert {word for name in shown for word in name.split()} <= words
    assert {word for name in difference.COLUMNS for word in name.split()} <= words
    assert {"bp", "lfnn_l", "softmax_regression"} <= words


def test_options_come_from_the_readable_id(made_up: Any) -> None:
    made_up.run("lfnn_l", options="leadership=0.5,lr=0.01")
    (row,) = rows(made_up.pairs())
    assert row.options == "leadership=0.5,lr=0.01"


def test_markdown_has_a_column_for_every_cell(made_up: Any) -> None:
    made_up.run()
    table = call(made_up, "bp", "--markdown").split("\n\n")[0].splitlines()
    assert {line.count("|") for line in table} == {len(render.COLUMNS)}


def test_without_cells_the_store_is_listed(made_up: Any) -> None:
    cell = made_up.run()
    assert cell in call(made_up)
    assert [row["cell"] for row in json.loads(call(made_up, "--json"))] == [cell]


def test_an_empty_home_says_what_to_do_and_creates_nothing(tmp_path: Any) -> None:
    found = CliRunner().invoke(command, ["--home", str(tmp_path / "x")])
    assert "lbench run --rule bp" in found.output
    found = CliRunner().invoke(command, ["bp", "--home", str(tmp_path / "x")])
    assert isinstance(found.exception, UsageError)
    assert not (tmp_path / "x").exists()


def test_an_unknown_cell_and_one_given_twice_are_refused(made_up: Any) -> None:
    made_up.run()
    for names in (["nothing"], ["bp", "bp/mnist"]):
        found = CliRunner().invoke(command, [*names, "--home", str(made_up.home.root)])
        assert isinstance(found.exception, UsageError)


def audit(free: bool | None, depth: Any, claimed: Any = None) -> dict[str, Any]:
    return {
        "bp_free": {"claimed": None, "measured": free},
        "transport": {"claimed": None, "measured": "none" if free else "full"},
        "backward_depth": {"claimed": claimed, "measured": depth},
    }


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (audit(True, 0), "BP-free"),
        (audit(False, 1), "depth 1"),
        (audit(False, 3, claimed=6), "depth 6"),
        (audit(False, "full"), "full BP"),
        ({**audit(False, "full"), "transport": {"measured": "sign"}}, "depth full"),
        (audit(None, None, claimed=1), "not measurable"),
        ({"bp_free": {"claimed": True, "measured": None}}, "—"),
        (None, "—"),
    ],
)
def test_the_audit_is_shown_in_a_word(made_up: Any, found: Any, shown: str) -> None:
    made_up.run(result={"audit": found})
    (line,) = render.cells(rows(made_up.pairs()))
    assert line[render.COLUMNS.index("audit")] == shown
    for text in (call(made_up), call(made_up, "bp"), call(made_up, "bp", "--markdown")):
        assert shown in text
        assert "CONTRADICTED" not in text


def test_a_contradiction_in_one_seed_is_told_with_its_evidence(
    made_up: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    contradiction = "writes: fc2.weight was changed before the update of block0 (step 1 of the run)"
    made_up.run(result={"audit": audit(True, 0)})
    made_up.run("cheat", 0, result={"audit": audit(True, 0)})
    made_up.run("cheat", 1, result={"audit": audit(False, 2), "contradictions": [contradiction]})
    comparison = compare(made_up.pairs())
    honest, cheat = comparison.rows
    assert (honest.contradictions, cheat.contradictions) == ([], [contradiction])
    content = json.loads(call(made_up, "bp", "cheat", "--json"))["cells"]
    assert [row["contradictions"] for row in content] == [[], [contradiction]]
    assert content[1]["audit"]["bp_free"] == {"claimed": None, "measured": False}
    assert f"2 CONTRADICTED {contradiction}" in render.notes(comparison)
    assert f"- 2 CONTRADICTED {contradiction}" in call(made_up, "bp", "cheat", "--markdown")
    assert "\x1b" not in call(made_up, "bp", "cheat")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    for arguments in ([], ["bp", "cheat"]):
        lines = [line for line in call(made_up, *arguments).splitlines() if "\x1b[31m" in line]
        assert lines
        assert all("bp" not in line for line in lines)
