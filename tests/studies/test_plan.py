"""A plan has every point, and invalid parts are errors, before anything is trained."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lbench.errors import DataError, UsageError
from lbench.registry import registry
from lbench.studies import plan as planning
from lbench.studies.definition import Arm, Point, Search, Span
from lbench.studies.driver import cores_per_worker, worker_devices
from lbench.studies.equal_operations import with_budgets
from lbench.studies.ledger import search_names
from lbench.studies.lookup import find_study
from lbench.studies.settings import as_flags
from lbench.studies.step_costs import step_costs
from lbench.studies.study_plan import ExampleBudget, StudyPlan
from lbench.training.resolve import Request, resolve
from tests.studies.helper import study


def make_plan(
    *arms: Arm, named: list[str] | None = None, gpu: bool = False, **changes: Any
) -> StudyPlan:
    return planning.plan(study(*arms, **changes), registry(), datasets=named, gpu=gpu)


@pytest.fixture(autouse=True)
def _no_data_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LBENCH_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_: str(tmp_path / "cache"))


def test_missing_datasets_are_left_out_with_the_reason() -> None:
    plan = make_plan(Arm("bp"), datasets=("digits", "mnist"))
    assert {point.dataset for point in plan.points} == {"digits"}
    assert "was not found" in plan.absent["mnist"]
    assert "\n" not in plan.absent["mnist"]


def test_a_study_whose_datasets_are_all_missing_is_an_error() -> None:
    with pytest.raises(
        DataError, match="None of the datasets of study s is available: mnist"
    ) as raised:
        make_plan(Arm("bp"), datasets=("mnist",))
    assert "--datasets digits" in raised.value.hint


def test_only_datasets_named_on_the_command_line_are_downloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    downloads: list[bool] = []
    mnist = registry().load("datasets", "mnist")
    digits = registry().load("datasets", "digits")()

    def load(self: Any, data_dir: Path | None, *, download: bool = True) -> Any:
        downloads.append(download)
        return digits.load(None)

    monkeypatch.setattr(mnist, "load", load)
    for gpu in (False, True):
        make_plan(Arm("bp"), gpu=gpu, datasets=("digits", "mnist"))
    assert downloads[0::2] == [False, False]  # the others load the data of the configuration
    downloads.clear()
    make_plan(Arm("bp"), named=["mnist"])
    assert downloads[0]


def test_large_datasets_are_left_out_on_a_cpu_unless_they_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planning, "SMALL", 10)
    with pytest.raises(DataError, match="large for a CPU; name it to use it: --datasets digits"):
        make_plan(Arm("bp"))
    assert len(make_plan(Arm("bp"), named=["digits"]).points) == 1
    assert len(make_plan(Arm("bp"), gpu=True).points) == 1


def test_a_repeated_name_on_the_command_line_counts_once() -> None:
    assert len(make_plan(Arm("bp"), named=["digits", "digits"]).points) == 1
    plan = planning.plan(study(Arm("bp")), registry(), rules=["bp", "bp"])
    assert len(plan.points) == 1


def test_a_rule_without_an_arm_has_the_settings_and_axes_of_the_first_arm() -> None:
    first = Arm("bp", "one", {"epochs": 3}, {"lr": (0.1, 0.2), "leadership": (0.3,)})
    plan = planning.plan(study(first, Arm("fa")), registry(), rules=["fa", "lfnn_l"])
    assert [point.settings.get("epochs") for point in plan.points] == [None, 3, 3]
    assert [point.key for point in plan.points] == [
        "fa/digits/mlp",
        "lfnn_l/digits/mlp/lr=0.1,leadership=0.3",
        "lfnn_l/digits/mlp/lr=0.2,leadership=0.3",
    ]


def test_two_points_with_the_same_key_are_refused() -> None:
    with pytest.raises(UsageError, match="two points called bp/digits/mlp") as raised:
        make_plan(Arm("bp", settings={"lr": 0.1}), Arm("bp", settings={"lr": 0.2}))
    assert "different names" in raised.value.hint
    two = (Arm("bp", "slow", {"lr": 0.1}), Arm("bp", "fast", {"lr": 0.2}))
    assert [point.key for point in make_plan(*two).points] == [
        "bp:slow/digits/mlp",
        "bp:fast/digits/mlp",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probes": ("onlin",)}, "Unknown probe 'onlin'"),
        ({"networks": ("mlp", "mpl")}, "Unknown network 'mpl'"),
        ({"datasets": ("digts",)}, "Unknown dataset 'digts'"),
    ],
)
def test_the_error_for_an_unknown_name_has_the_most_similar_one(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        make_plan(Arm("bp"), **changes)
    assert "Did you mean" in raised.value.hint


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 2.5}, "Setting epochs must be a whole number, but got 2.5"),
        ({"epochs": "many"}, "Setting epochs must be a whole number, but got 'many'"),
        ({"blocks": True}, "Setting blocks must be a whole number, but got True"),
        ({"microbatch": 0}, "--microbatch must be at least 1, but got 0"),
        ({"microbatch": 8, "batch": 32, "net.norm": "batch"}, "the BatchNorm of this network"),
        ({"precision": "fp8"}, "Setting precision must be fp32 or bf16, but got 'fp8'"),
        ({"equal": "flop"}, "Setting equal must be epochs or flops, but got 'flop'"),
        ({"augment": 3}, "Setting augment must be text, but got 3"),
        ({"labels": 2}, "share above 0"),
        ({"net.widths": "wide"}, "widths"),
        ({"net.width": [20]}, "width"),
        ({"data.permut": 1}, "permut"),
        ({"epochs": 2, "examples": 9}, "give one of them"),
    ],
)
def test_the_error_for_an_invalid_setting_names_the_point(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        make_plan(Arm("bp", settings=settings))
    assert raised.value.message.startswith("At bp/digits/mlp")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": [0.1]}, "Setting labels must be a number, but got [0.1]"),
        ({"labels": "0.1"}, "Setting labels must be a number"),
        ({"labels": True}, "Setting labels must be a number"),
        ({"epochs": "2"}, "Setting epochs must be a whole number, but got '2'"),
        ({"epochs": "²"}, "Setting epochs must be a whole number, but got '²'"),
        ({"lr": True}, "Option lr of the recipe must be a number"),
        ({"lr": "0.1"}, "Option lr of the recipe must be a number"),
        ({"batch": True}, "Option batch of the recipe must be a whole number"),
        ({"batch": 32.0}, "Option batch of the recipe must be a whole number"),
        ({"leadership": True}, "Option leadership of rule lfnn_l must be a number"),
        ({"net.widths": [True]}, "Option widths of network mlp must be whole numbers"),
        ({"net.widths": "20"}, "Option widths of network mlp must be whole numbers"),
        ({"data.permute": "1"}, "Setting data.permute must be a number, but got '1'"),
        ({"data.permute": [1]}, "Setting data.permute must be a single value"),
    ],
    ids=str,
)
@pytest.mark.parametrize("as_axis", [False, True], ids=["set", "axis"])
def test_settings_in_a_file_have_the_types_of_their_options(
    settings: dict[str, Any], message: str, as_axis: bool
) -> None:
    arm = Arm("lfnn_l", settings=settings)
    if as_axis:
        arm = Arm("lfnn_l", axes={name: (value,) for name, value in settings.items()})
    with pytest.raises(UsageError, match=re.escape(message)):
        make_plan(arm, path=Path("mine.toml"))


@pytest.mark.parametrize("value", ["²", "0.1²", True, [0.1], {"a": 1}], ids=str)
@pytest.mark.parametrize("name", ["labels", "epochs"])
def test_a_value_that_is_no_number_is_an_error_without_a_file_too(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=name):
        make_plan(Arm("bp", settings={name: value}))


def test_values_of_a_search_space_have_the_types_of_their_options() -> None:
    search = Search(sampler="grid", only=(), space={"lr": (True,), "optimizer": ("adam",)})
    with pytest.raises(UsageError, match="Option lr of the recipe must be a number"):
        make_plan(Arm("bp", settings={"weight_decay": 0.0}), search=search)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"momentum": 0.5}, "momentum of the recipe cannot act: the optimizer is adam"),
        ({"gamma": 0.5}, "gamma of the recipe cannot act: the schedule is onecycle"),
        ({"milestones": [0.5]}, "milestones of the recipe cannot act: the schedule is onecycle"),
        ({"momentum": 0.9}, "momentum of the recipe cannot act"),  # also if it equals the default
    ],
    ids=str,
)
def test_a_setting_without_effect_at_any_point_is_refused(
    settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason) as raised:
        make_plan(Arm("bp", settings=settings))
    assert raised.value.message.startswith("At bp/digits/mlp")
    assert "Leave it out" in raised.value.hint


def test_a_setting_needs_an_effect_at_some_point_and_an_axis_at_every_point() -> None:
    optimizers = {"optimizer": ("adam", "sgd")}
    make_plan(Arm("bp", settings={"momentum": 0.5}, axes=optimizers))
    make_plan(Arm("bp"), Arm("pepita"), settings={"momentum": 0.5})  # pepita's own optimizer is sgd
    with pytest.raises(UsageError, match=r"optimizer=adam,momentum=0\.5: Option momentum"):
        make_plan(Arm("bp", axes={**optimizers, "momentum": (0.5, 0.9)}))


def test_a_momentum_has_an_effect_if_the_optimizer_is_searched() -> None:
    searched = Search(only=())
    make_plan(Arm("bp", settings={"momentum": 0.5}), search=searched)
    with pytest.raises(UsageError, match="momentum of the recipe cannot act"):
        make_plan(Arm("bp", settings={"momentum": 0.5, "optimizer": "adamw"}), search=searched)


@pytest.mark.parametrize(
    "search", [Search(only=("leadership",)), Search(space={"leadership": Span(0.1, 0.5)})], ids=str
)
def test_an_option_that_is_set_at_every_point_cannot_be_searched(search: Search) -> None:
    with pytest.raises(UsageError, match="leadership cannot be searched: it is set"):
        make_plan(Arm("lfnn_l", settings={"leadership": 0.3}), search=search)
    make_plan(Arm("lfnn_l", settings={"leadership": 0.3}), Arm("lfnn_l", "other"), search=search)


def test_a_note_names_settings_of_a_network_that_the_rule_does_not_use() -> None:
    settings = {"net.widths": [20], "dropout": 0.1}
    plan = make_plan(Arm("softmax_regression"), Arm("bp"), settings=settings)
    used, unused = (
        plan.resolved["bp/digits/mlp"],
        plan.resolved["softmax_regression/digits/mlp"],
    )
    assert used.notes == []
    message = "net.widths, dropout cannot act: rule softmax_regression uses no network."
    assert unused.notes == [message]


def test_settings_without_effect_are_left_out_of_the_command_line() -> None:
    point = Point(0, "bp", "digits", "mlp", {}, {"momentum": 0.5, "equal": "epochs"})
    assert "--momentum" not in as_flags(point, {"optimizer": "adam"}, registry())
    assert "--momentum 0.5" in as_flags(point, {"optimizer": "sgd"}, registry())


def test_settings_of_a_study_mean_the_same_as_on_the_command_line() -> None:
    settings = {"augment": "none", "net.widths": 40, "epochs": "2", "data.permute": 1}
    cell = make_plan(Arm("bp", settings=settings)).resolved["bp/digits/mlp"].cell
    typed = Request(
        "bp",
        "digits",
        network_options={"widths": "40"},
        epochs=2,
        augmentation="",
        data_options={"permute": "1"},
        protocol="paper",
    )
    assert cell.fingerprint == resolve(typed, registry()).cell.fingerprint


def test_trials_and_final_runs_are_counted() -> None:
    grid = study(Arm("bp", axes={"batch": (32, 64)}), seeds=3)
    plan = planning.plan(grid, registry())
    assert (plan.trials, plan.finals) == (0, 6)
    searched = replace(grid, kind="search", search=Search(trials=5, only=()))
    assert planning.plan(searched, registry()).trials == 10


def equal(*rules: str, settings: dict[str, Any] | None = None, **changes: Any) -> StudyPlan:
    arms = [Arm(rule, axes={"equal": ("epochs", "flops")}) for rule in rules]
    return make_plan(*arms, settings=settings or {"epochs": 4}, **changes)


def budgets(plan: StudyPlan, costly: str = "fa") -> StudyPlan:
    """Return the plan with budgets if ``costly`` takes twice the operations of the others."""
    return with_budgets(plan, {p.key: 600.0 if p.rule == costly else 300.0 for p in plan.points})


def test_with_equal_flops_a_costly_rule_has_fewer_examples() -> None:
    plan = budgets(equal("bp", "fa", "dfa"))
    train = len(plan.resolved["bp/digits/mlp/equal=flops"].dataset.train)
    # The paper protocol trains on all examples, a trial on nine tenths. The others keep epochs.
    assert plan.budgets == {
        "fa/digits/mlp/equal=flops": ExampleBudget(round(1.8 * train), 2 * train)
    }


def test_a_strict_study_trains_on_nine_tenths_in_its_final_runs_too() -> None:
    plan = budgets(equal("bp", "fa", protocol="strict", settings={"epochs": 4, "labels": 0.5}))
    (budget,) = plan.budgets.values()
    assert budget.trial == budget.final
    train = len(plan.resolved["bp/digits/mlp/equal=flops"].dataset.train)
    assert budget.final == round(0.9 * 0.5 * 2 * train)


def test_a_search_with_another_budget_has_another_name() -> None:
    searched = replace(equal("bp", "fa"), study=replace(equal("bp").study, search=Search()))
    searched = replace(searched, spaces={point.key: {} for point in searched.points})
    key = "fa/digits/mlp/equal=flops"
    costly, costlier = (
        budgets(searched),
        with_budgets(
            searched, {p.key: 900.0 if p.rule == "fa" else 300.0 for p in searched.points}
        ),
    )
    assert len({search_names(budgeted)[key] for budgeted in (searched, costly, costlier)}) == 3
    assert (
        search_names(costly)["bp/digits/mlp/equal=flops"]
        == search_names(searched)["bp/digits/mlp/equal=flops"]
    )


def test_equal_flops_without_a_bp_are_refused_before_anything_is_timed() -> None:
    with pytest.raises(UsageError, match="as many operations as bp") as raised:
        equal("fa")
    assert "Add the rule bp" in raised.value.hint
    with pytest.raises(UsageError, match="as many operations as bp") as raised:
        equal("bp", settings={"examples": 100})
    assert "the budget in epochs" in raised.value.hint


def test_a_rule_without_matrix_products_has_no_budget_of_operations() -> None:
    plan = equal("bp", "fa")
    with pytest.raises(UsageError, match="Training fa has no matrix product"):
        with_budgets(plan, {p.key: 0.0 if p.rule == "fa" else 300.0 for p in plan.points})


def test_the_flops_per_training_example_do_not_depend_on_the_batch() -> None:
    arms = [Arm("bp", name=str(batch), settings={"batch": batch}) for batch in (16, 600)]
    arms.append(Arm("bp", name="parts", settings={"batch": 16, "microbatch": 6}))
    arms.append(Arm("lg_bp", settings={"schedule": "sequential"}))
    plan = make_plan(*arms, settings={"epochs": 1, "net.widths": [30, 20]})
    small, large, parts, sequential = step_costs(plan, torch.device("cpu"), 1, str).values()
    first, second, out = 2 * 64 * 30, 2 * 30 * 20, 2 * 20 * 10
    # Forward pass, weight gradients, and input gradients of all layers but the first.
    assert small.flops == large.flops == parts.flops == 3 * (first + second + out) - first
    # Half of the budget trains the first block and its head, half the second block, whose input
    # is detached, with its head and the readout.
    head = 2 * 30 * 10
    phases = (2 * first + 3 * head, first + 2 * second + 3 * out + 2 * out)
    assert sequential.flops == sum(phases) / 2
    assert min(small.step, large.step, sequential.step) > 0


def test_a_rule_that_cannot_run_in_microbatches_is_reported_and_the_others_are_trained() -> None:
    plan = make_plan(Arm("bp"), Arm("lfnn_l"), settings={"microbatch": 8})
    assert [point.rule for point in plan.points] == ["bp"]
    (refused,) = plan.untrainable
    assert refused.point.rule == "lfnn_l"
    assert "it couples the examples of a batch, through means" in refused.reason
    assert "--microbatch 8" in as_flags(plan.points[0], {}, registry())


def test_equal_operations_include_those_of_after_step() -> None:
    settings = {"epochs": 1, "net.widths": [30, 20], "batch": 16}
    (cost,) = step_costs(
        make_plan(Arm("wm"), settings=settings), torch.device("cpu"), 1, str
    ).values()
    first, second, out = 2 * 64 * 30, 2 * 30 * 20, 2 * 20 * 10
    mirrored = 2 * (second + out) * 128 / 16  # 128 noise vectors per step
    assert cost.flops == 3 * (first + second + out) - first + mirrored


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (
            "leaders",
            "At bp/digits/mlp: Probe leaders measures leaders and followers, but the blocks of Bp",
        ),
        ("tasks", "At bp/digits/mlp: Probe tasks needs a sequence of tasks"),
    ],
)
def test_an_unsuitable_probe_is_an_error_before_anything_is_trained(
    probe: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make_plan(Arm("bp"), probes=(probe,))
    make_plan(Arm("bp"), probes=("tasks",), datasets=("split-digits",))


def test_each_network_is_compared_with_the_bp_on_the_same_network() -> None:
    arms = [Arm(rule, axes={"net.depth": (2, 8), "equal": ("flops",)}) for rule in ("bp", "fa")]
    plan = make_plan(*arms, settings={"epochs": 4}, networks=("mlp-deep",))
    cost = {("bp", 2): 100.0, ("bp", 8): 400.0, ("fa", 2): 200.0, ("fa", 8): 400.0}
    flops = {p.key: cost[p.rule, p.values["net.depth"]] for p in plan.points}
    train = len(plan.resolved[plan.points[0].key].dataset.train)
    (budget,) = with_budgets(plan, flops).budgets.items()
    assert budget == (
        "fa/digits/mlp-deep/net.depth=2,equal=flops",
        ExampleBudget(round(1.8 * train), 2 * train),
    )


def test_a_sequence_of_tasks_has_no_budget_of_operations() -> None:
    with pytest.raises(UsageError, match="is a sequence"):
        equal("bp", datasets=("split-digits",), settings={"epochs": 1})


@pytest.mark.parametrize("name", sorted(registry().studies))
def test_every_installed_study_can_be_planned(name: str) -> None:
    installed = find_study(name, registry())
    dataset = "split-digits" if "tasks" in installed.probes else "digits"
    plan = planning.plan(installed, registry(), datasets=[dataset])
    assert {point.dataset for point in plan.points} == {dataset}
    assert {point.rule for point in plan.points} >= {
        arm.rule for arm in installed.arms if arm.rule != "*"
    }


def test_every_worker_process_has_a_device_and_a_core() -> None:
    assert worker_devices(3, "cpu") == ["cpu"] * 3
    assert worker_devices(2, "cuda:1") == ["cuda:1"] * 2
    assert 1 <= len(worker_devices(None, "cpu")) <= 16
    assert cores_per_worker(10_000) == 1


@pytest.mark.parametrize("rule", ["lfnn_l", "lfnn"])
def test_an_installed_search_takes_one_of_its_rules_although_another_has_more_options(
    rule: str,
) -> None:
    known = registry()
    asked = find_study("leadership", known)
    plan = planning.plan(asked, known, datasets=["digits"], rules=[rule])
    assert [point.rule for point in plan.points] == [rule]
    (space,) = plan.spaces.values()
    assert ("lambda1" in space) == (rule == "lfnn")


ONE_WORKER: dict[str, Any] = {"net.widths": [10]}
"""A convolution of one channel per class of digits: one worker of lfnn_l, which always leads."""
SHARES = (0.1, 0.5, 1.0)


def flat(*arms: Arm, **changes: Any) -> StudyPlan:
    return make_plan(*arms, networks=("cnn",), **changes)


def test_an_axis_over_an_option_that_cannot_act_is_refused_with_what_would_do() -> None:
    arm = Arm("lfnn_l", settings=ONE_WORKER, axes={"leadership": SHARES})
    with pytest.raises(UsageError) as raised:
        flat(arm)
    assert raised.value.message == (
        "At lfnn_l/digits/cnn/leadership=0.1: Option leadership cannot act: the values 0.1, 0.5, "
        "1.0 give the same rule here (workers per block: 1; leaders per block: 1)."
    )
    for words in ("--set workers=5", "lfnn_l_rr", "lfnn_l_head", "wider blocks"):
        assert words in raised.value.hint
    flat(replace(arm, settings={"net.widths": [20]}))
    flat(replace(arm, settings={**ONE_WORKER, "workers": 2}))
    flat(replace(arm, rule="lfnn_l_rr"))


def test_leadership_is_refused_if_no_number_of_leaders_changes_within_the_range() -> None:
    """Two workers have one leader up to a leadership of 0.7."""
    settings = {"net.widths": [20]}
    flat(Arm("lfnn_l", settings=settings, axes={"leadership": (0.1, 0.7, 0.8)}))
    with pytest.raises(UsageError, match=r"workers per block: 2; leaders per block: 1") as raised:
        flat(Arm("lfnn_l", settings=settings, axes={"leadership": (0.1, 0.7)}))
    assert "in steps of 0.5" in raised.value.hint


def test_arms_that_are_the_same_rule_are_refused_like_an_axis() -> None:
    arms = [
        Arm("lfnn_l", name=f"{share}", settings={**ONE_WORKER, "leadership": share})
        for share in SHARES
    ]
    with pytest.raises(UsageError, match="leadership cannot act"):
        flat(*arms)


def test_an_option_needs_to_act_at_some_values_of_the_other_axes_only() -> None:
    axes = {"leadership": (0.5, 1.0), "lam": (0.0, 1.0)}
    flat(Arm("lfnn_l", settings={"net.widths": [20]}, axes=axes))
    with pytest.raises(UsageError, match=r"lam cannot act: the values 0\.0, 1\.0 give"):
        flat(Arm("lfnn_l", settings={"leadership": 1.0}, axes={"lam": (0.0, 1.0)}))


def test_a_search_refuses_named_options_that_cannot_act_and_leaves_out_others() -> None:
    arm = Arm("lfnn_l", settings=ONE_WORKER)
    for search in (Search(only=("leadership",)), Search(space={"leadership": (0.1, 1.0)})):
        with pytest.raises(UsageError, match=r"leadership cannot act: the values 0\.1"):
            flat(arm, search=search)
    plan = flat(arm, search=Search())
    (space,) = plan.spaces.values()
    assert set(space) == {"lr", "weight_decay", "optimizer"}
    assert len(plan.notes) == 1
    assert "not searched, because it cannot act here: leadership, selection" in plan.notes[0]


def test_an_option_that_acts_with_a_searched_one_is_searched() -> None:
    """Leadership cannot act at the default number of workers, which is searched too."""
    search = Search(only=("leadership",), space={"workers": (1, 2)})
    plan = flat(Arm("lfnn_l", settings=ONE_WORKER), search=search)
    assert {"leadership", "workers"} <= set(plan.spaces["lfnn_l/digits/cnn"])
