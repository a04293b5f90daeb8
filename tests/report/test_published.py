from __future__ import annotations

import collections
from pathlib import Path

import pytest

import lbench
from lbench.report import citations
from lbench.report import published as module
from lbench.report.published import COLUMNS, Published, published, read

FOLDER = Path(lbench.__file__).parent / "published"
COUNTS = {
    "lfnn_table1": 9 * 4,
    "lfnn_table2": 6 * 10,
    "lfnn_table3": 4 * 10,
    "ren_table3": 11 * 4,
    "nokland_eidnes": 19 * 4 + 6,
    "biotorch": 31,
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
    assert (row.test_error, row.train_error, row.data) == (62.46, None, "crop and flip")
    jitter = cell("nokland_eidnes", rule="bp", network="mlp, 2.9M parameters", dataset="mnist")
    assert (jitter.test_error, jitter.data) == (0.75, "2-pixel jitter")


def test_baselines_that_were_copied_say_so() -> None:
    copied = {
        (row.rule, row.dataset, row.test_error)
        for row in read(FOLDER / "lfnn_table1.csv")
        if "copied from Ren" in row.note and "not copied" not in row.note
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


def test_numbers_never_stand_without_network_and_data() -> None:
    for path in FOLDER.glob("*.csv"):
        assert all(row.network and row.data and row.source for row in read(path))


def test_a_file_that_cannot_be_read_is_left_out_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lbench.hooks import PublishedEntry
    from lbench.registry import Registry

    good = tmp_path / "good.csv"
    good.write_text(f"{','.join(COLUMNS)}\nmine,mnist,net,data,,1.5,,me,\n")
    bad = tmp_path / "bad.csv"
    bad.write_text(f"{','.join(COLUMNS)}\nmine,mnist,net,data,,1.5 %,,me,\n")
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
    columns, lines, notes = citations.table(rows)
    assert columns == ["test", "network", "data", "source"]
    assert {line[-1] for line in lines} == {"[1]"}
    assert len(notes) == 1
    assert "without the local heads" in notes[0]
