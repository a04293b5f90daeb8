from __future__ import annotations

import collections
from pathlib import Path

import pytest

import lbench
from lbench.networks.spec import network_spec
from lbench.published import citations
from lbench.published import numbers as module
from lbench.published.numbers import COLUMNS, Published, published, read
from lbench.registry import registry

FOLDER = Path(lbench.__file__).parent / "published"
COUNTS = {
    "lfnn_table1": 9 * 4,
    "lfnn_table2": 6 * 10,
    "lfnn_table3": 4 * 10,
    "ren_table3": 11 * 4,
    "nokland_eidnes": 19 * 4 + 6,
    "biotorch": 6 * (1 + 1 + 6) + 6,
    "counter_current": 8,
    "cwc": 4,
    "fg_local": 2,
    "forward_forward": 3,
    "greedy": 3,
    "mono_forward": 3,
    "softhebb": 4,
}


def cell(name: str, **wanted: str) -> Published:
    rows = [
        row
        for row in read(FOLDER / f"{name}.csv")
        if all(getattr(row, key) == value for key, value in wanted.items())
    ]
    assert len(rows) == 1
    return rows[0]


def test_every_cell_of_the_tables_is_there() -> None:
    assert {path.stem: len(read(path)) for path in FOLDER.glob("*.csv")} == COUNTS


def test_cells_are_as_printed() -> None:
    small = "272K-275K parameters, network not stated"
    row = cell("lfnn_table1", rule="lfnn_l", dataset="mnist", network=small)
    assert (row.test_error, row.train_error, row.setting) == (1.49, 0.04, "leadership=0.7")
    assert row.source == "Yin et al. 2023, arXiv:2310.07885, Table 1"
    assert cell("lfnn_table1", rule="bp", dataset="imagenet").test_error == 35.24
    row = cell("lfnn_table2", rule="lfnn", dataset="cifar10", setting="leadership=1.0")
    assert (row.test_error, row.train_error) == (18.41, 3.37)
    row = cell("lfnn_table3", rule="lfnn_l", dataset="imagenet_1pct", setting="leadership=0.9")
    assert (row.test_error, row.train_error) == (53.82, 5.58)
    row = cell("ren_table3", rule="lg_fg_a", network="LocalMixer M/8/16, 919K parameters")
    assert (row.dataset, row.test_error, row.train_error) == ("cifar10", 30.68, 19.39)
    row = cell("nokland_eidnes", rule="sim", network="mlp, 27.3M parameters", dataset="cifar100")
    assert (row.test_error, row.train_error, row.augmentation) == (62.46, None, "crop and flip")
    jitter = cell("nokland_eidnes", rule="bp", network="mlp, 2.9M parameters", dataset="mnist")
    assert (jitter.test_error, jitter.augmentation) == (0.75, "2-pixel jitter")


def test_baselines_that_were_copied_say_so() -> None:
    copied = {
        (row.rule, row.dataset, row.test_error)
        for row in read(FOLDER / "lfnn_table1.csv")
        if row.origin == "copied from Ren et al. 2023, Table 3"
    }
    assert len(copied) == 6 * 4
    assert copied <= {
        (row.rule, row.dataset, row.test_error) for row in read(FOLDER / "ren_table3.csv")
    }


def test_known_inconsistencies_stand_beside_their_cells() -> None:
    assert (
        "copied cell"
        in cell(
            "lfnn_table3", rule="lfnn_l", dataset="tiny_imagenet", setting="leadership=1.0"
        ).note
    )
    assert "rand_local" in cell("ren_table3", rule="dfa", dataset="cifar10").note
    assert "dataset" in cell("lfnn_table1", rule="lfnn", dataset="imagenet").note
    assert all(
        "exchanged" in row.note
        for row in read(FOLDER / "lfnn_table2.csv")
        if row.rule == "lfnn_l" and row.dataset == "mnist"
    )


def test_a_setting_must_agree_with_the_options() -> None:
    errors = {row.test_error for row in published("lfnn_l", "cifar10", {"leadership": 0.2})}
    assert errors == {23.09}
    # A stepped search hands out such floats.
    snapped = published("lfnn_l", "cifar10", {"leadership": 0.7000000000000001})
    assert {row.test_error for row in snapped} == {20.85}
    assert published("lfnn_l", "cifar10", {}) == []
    assert len(published("lfnn_l", "cifar10")) == 1 + 10


def test_rows_equal_in_error_and_network_are_given_once() -> None:
    rows = published("fa", "mnist", {})
    counts = collections.Counter((row.test_error, row.network) for row in rows)
    assert set(counts.values()) == {1}
    assert [row.test_error for row in rows] == sorted(row.test_error for row in rows)


def test_numbers_never_stand_without_their_terms() -> None:
    for path in FOLDER.glob("*.csv"):
        for row in read(path):
            assert row.network
            assert row.same_network
            assert row.augmentation
            assert row.selected
            assert row.source
            assert row.origin


def test_the_same_network_is_one_of_lbench_that_takes_these_options() -> None:
    known = registry()
    for row in {row.same_network for path in FOLDER.glob("*.csv") for row in read(path)}:
        if row in ("no", "not stated"):
            continue
        name, *options = row.split()
        pairs = [option.split("=") for option in options]
        network_spec(known.find("networks", name), known.load("networks", name), dict(pairs))


def test_feedback_alignment_of_ren_et_al_is_noted_as_another_rule() -> None:
    rows = [row for name in ("ren_table3", "lfnn_table1") for row in read(FOLDER / f"{name}.csv")]
    for row in rows:
        assert ("softmax(B h) - e_t" in row.note) == (row.rule in ("fa", "l_fa", "lg_fa"))


@pytest.mark.parametrize(
    ("rule", "network", "errors"),
    [
        ("dfa", "LeNet", {54.21, 37.59}),
        ("dfa", "ResNet-20", {45.94, 32.16}),
        ("usf", "LeNet", {16.22, 16.34}),
        ("frsf", "LeNet", {16.86, 16.83}),
        ("usf", "ResNet-56", {8.2, 9.19}),
        ("brsf", "ResNet-56", {8.69, 10.13}),
        ("frsf", "ResNet-56", {9.49, 10.02}),
        ("dfa", "ResNet-56", {38.01, 32.02}),
    ],
)
def test_biotorchs_cifar10_rows_are_complete_and_not_rounded(
    rule: str, network: str, errors: set[float]
) -> None:
    rows = [
        row
        for row in read(FOLDER / "biotorch.csv")
        if (row.rule, row.dataset, row.network) == (rule, "cifar10", network)
    ]
    assert {row.test_error for row in rows} == errors
    assert {row.selected for row in rows} == {"validation split of 5,000"}
    assert {row.augmentation for row in rows} == {"crop with padding 4, and flip"}


@pytest.mark.parametrize(
    ("dataset", "augmentation"),
    [
        ("fashion_mnist", {"2-pixel jitter and flip", "2-pixel jitter and flip, cutout"}),
        ("kmnist", {"none", "cutout"}),
        ("stl10", {"none", "cutout"}),
        (
            "svhn",
            {"none; with the extra training images", "cutout; with the extra training images"},
        ),
    ],
)
def test_augmentations_of_noekland_and_eidnes_are_those_of_their_readme(
    dataset: str, augmentation: set[str]
) -> None:
    rows = [row for row in read(FOLDER / "nokland_eidnes.csv") if row.dataset == dataset]
    assert {row.augmentation for row in rows} == augmentation


@pytest.mark.parametrize(
    ("dataset", "script", "log"),
    [
        ("mnist", "MNIST_LFNN.py", "test 1.20 %, train 1.15 %"),
        ("cifar10", "Cifar10_LFNN.py", "test 20.95 %, train 4.69 %"),
        ("imagenet_1pct", "ImageNet_LFNN_subset.py", "on 3,200 training images"),
    ],
)
def test_rows_of_lfnn_l_name_the_scripts_that_the_repository_attributes_them_to(
    dataset: str, script: str, log: str
) -> None:
    rows = [
        row
        for name in ("lfnn_table1", "lfnn_table2", "lfnn_table3")
        for row in read(FOLDER / f"{name}.csv")
        if (row.rule, row.dataset) == ("lfnn_l", dataset)
    ]
    assert rows
    for row in rows:
        assert f"{script} with use_global_loss=True" in row.origin
        assert "backpropagates" in row.note
        assert log in row.note


def test_a_file_that_cannot_be_read_is_left_out_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lbench.hooks import PublishedEntry
    from lbench.registry import Registry

    good = tmp_path / "good.csv"
    good.write_text(f"{','.join(COLUMNS)}\nmine,mnist,net,no,none,,test set,1.5,,me,own runs,\n")
    bad = tmp_path / "bad.csv"
    bad.write_text(f"{','.join(COLUMNS)}\nmine,mnist,net,no,none,,test set,1.5 %,,me,own runs,\n")
    entries = {path.stem: PublishedEntry(path.stem, path) for path in (bad, good)}
    monkeypatch.setattr(module, "registry", lambda: Registry(published=entries))
    with pytest.warns(UserWarning, match=r"bad.csv, line 2: .*'1.5 %'"):
        rows = published("mine")
    assert [row.test_error for row in rows] == [1.5]


@pytest.mark.parametrize("text", ["rule,dataset\nbp,mnist\n", f"{','.join(COLUMNS)}\nbp,mnist\n"])
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"x.csv"):
        read(path)


def test_a_table_numbers_its_sources_and_leaves_out_empty_columns() -> None:
    rows = published("pred", "mnist")
    found = citations.table(rows)
    assert found.columns == ["test", "network", "same here", "augmentation", "selected", "source"]
    assert {row[-1] for row in found.rows} == {"[1]"}
    assert len(found.notes) == 1
    assert "without the local heads" in found.notes[0]


def test_a_narrow_table_has_the_terms_in_its_notes() -> None:
    found = citations.table(published("pred", "mnist"), narrow=True)
    assert found.columns == ["test", "network", "source"]
    assert len(found.notes) == len(found.rows) == 2  # one for each network here
    for note in found.notes:
        assert "augmentation: 2-pixel jitter; selected: no validation split" in note
    assert "same network here: vgg8b" in " ".join(found.notes)
