"""Errors for unknown names suggest similar ones, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbench.data.augment import OPERATIONS
from lbench.errors import nearest
from lbench.recipe import Recipe
from lbench.registry import registry
from lbench.studies.definition import OBJECTIVES, SAMPLERS
from tests.studies.helper import lbench

KINDS = {
    "rules": list(registry().rules),
    "datasets": list(registry().datasets),
    "networks": list(registry().networks),
    "studies": list(registry().studies),
    "probes": list(registry().probes),
    "augmentations": list(OPERATIONS),
    "samplers": list(SAMPLERS),
    "objectives": list(OBJECTIVES),
    "recipe": list(Recipe.model_fields),
}
ALL = [(kind, name) for kind, names in KINDS.items() for name in names]


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_name_with_one_wrong_letter_is_suggested(kind: str, name: str) -> None:
    middle = len(name) // 2
    misses = [name.upper(), name.replace("_", "-"), name + name[-1]]
    if len(name) > 2:
        misses += [name[:-1] + "x", name[:middle] + name[middle + 1 :]]
    if len(name) > 3:
        misses += [name[:middle] + name[middle + 1] + name[middle] + name[middle + 2 :]]
    for miss in misses:
        if miss not in KINDS[kind]:
            near = nearest(miss, KINDS[kind])
            # Other names may be as similar and come first, such as pred_bio for "predbio".
            assert name in near or len(near) == 3, (miss, near)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["nope", "foo", "xyz", "wrong", "nothing", "qqqqqqqq", "ab", ""])
def test_a_name_that_is_far_from_all_has_no_suggestion(kind: str, name: str) -> None:
    assert nearest(name, KINDS[kind]) == []


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [
        ("rules", "soft", ["softhebb", "softmax_regression"]),
        ("rules", "lfnnl", ["lfnn_l", "lfnn", "lfnn_l_v1"]),
        ("datasets", "cifar", ["cifar10", "cifar100"]),
        ("datasets", "fashion", ["fashion-mnist"]),
        ("networks", "mlp_275k", ["mlp-275k"]),
        ("rules", "LFNN-L", ["lfnn_l"]),
    ],
)
def test_the_nearest_come_first_and_a_prefix_suggests_its_names(
    kind: str, name: str, near: list[str]
) -> None:
    assert nearest(name, KINDS[kind]) == near


@pytest.mark.parametrize(
    ("words", "near", "far"),
    [
        (["run", "--rule", "{}", "--dataset", "digits"], "prd", "nope"),
        (["run", "--rule", "bp", "--dataset", "{}"], "digts", "nope"),
        (["run", "--rule", "bp", "--dataset", "digits", "--network", "{}"], "mpl", "nope"),
        (["run", "--rule", "lfnn_l", "--dataset", "digits", "--set", "{}=1"], "leadershp", "nope"),
        (["run", "--rule", "bp", "--dataset", "digits", "--net", "{}=1"], "width", "nope"),
        (["run", "--rule", "bp", "--dataset", "digits", "--augment", "{}"], "flp", "nope"),
        (["study", "{}"], "leadershp", "nope"),
        (["probes", "{}"], "leader", "nope"),
        (["{}"], "comapre", "nope"),
        (["compare", "{}"], "lfnn_l/mnits", "nope"),
    ],
)
def test_every_command_suggests_similar_names_alone(
    words: list[str], near: str, far: str, home_with_a_cell: Path
) -> None:
    options = ["--home", str(home_with_a_cell)] if words[0] in ("run", "study", "compare") else []
    for name, suggested in ((near, True), (far, False)):
        result = lbench(*(word.format(name) for word in words), *options)
        assert result.code == 2, result.err
        assert ("Did you mean " in result.err) == suggested, result.err


def test_the_error_for_a_field_of_a_study_suggests_similar_fields_alone(tmp_path: Path) -> None:
    for field, suggested in (("sedes", True), ("nope", False)):
        file = tmp_path / "mine.toml"
        file.write_text(f'title = "T"\nrules = ["bp"]\ndatasets = ["digits"]\n{field} = 1\n')
        result = lbench("study", str(file), "--home", str(tmp_path / "home"))
        assert f"Unknown field '{field}'" in result.err
        assert ("Did you mean seeds?" in result.err) == suggested


@pytest.fixture
def home_with_a_cell(tmp_path: Path) -> Path:
    from lbench.home import Home
    from lbench.store.sync import sync
    from tests.store.helper import write_run

    home = Home(tmp_path / "home")
    write_run(home)
    sync(home, mlflow=False)
    return home.root
