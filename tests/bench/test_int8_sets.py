"""The sets as data, and real tables as rows."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.int8._dies import model_path
from benchmarks.int8._sets import SETS_FILE, read_sets
from benchmarks.int8._tables import read_table

TUNED_ON = {20261, 777, 555, 20262}


def test_the_file_has_enough_sets_of_each_kind_and_no_seed_that_was_tuned_on():
    sets = read_sets()
    assert {g.process for g in sets.generators} == {"tight", "loose"}
    assert {g.n_tests for g in sets.generators} == {48, 512}
    assert not TUNED_ON & {g.seed for g in sets.generators}
    assert sum(t.file.startswith("adbench/") for t in sets.tables) >= 8
    assert {"ucr-wafer", "tennessee-eastman", "a595"} <= {t.name for t in sets.tables}
    assert sets.fprs == (0.001, 0.005, 0.02)


def test_quick_is_one_small_generator():
    sets = read_sets(quick=True)
    assert [g.name for g in sets.generators] == ["tight48-778"]
    assert not sets.tables
    assert sets.generators[0].n_fresh_good < read_sets().generators[0].n_fresh_good


def test_one_set_by_name():
    sets = read_sets(only="a595")
    assert not sets.generators
    assert [t.name for t in sets.tables] == ["a595"]


def test_an_unknown_set_is_refused():
    with pytest.raises(ValueError, match=r"no set 'large'; there are tight512-4242"):
        read_sets(only="large")


@pytest.mark.parametrize(
    ("before", "after"), [("seed = 4242", "sed = 4242"), ("max_train = 4", "max = 4")]
)
def test_a_mistake_in_the_file_is_no_set(tmp_path, before, after):
    path = tmp_path / "sets.toml"
    path.write_text(SETS_FILE.read_text(encoding="utf-8").replace(before, after, 1))
    with pytest.raises(ValueError, match=r"sets\.toml: set '(tight512-4242|ucr-wafer)'"):
        read_sets(path)


def test_a_model_is_kept_under_a_name_of_its_set_and_its_code_unless_a_folder_is_given(tmp_path):
    first, second = read_sets().generators[:2]
    of = model_path(tmp_path, None)
    assert of(first) != of(second)
    assert of(first) == model_path(tmp_path, None)(first)
    assert of(first).name.startswith("tight512-4242-")
    assert model_path(tmp_path, tmp_path / "m")(first) == tmp_path / "m" / "tight512-4242.pt"


def a_table(tmp_path, kind: str, **arrays):
    np.savez(tmp_path / "table.npz", **arrays)
    case = read_sets(only="ucr-wafer").tables[0]
    fields = {**vars(case), "kind": kind, "file": "table.npz", "max_judged": 4}
    return read_table(type(case)(**fields), tmp_path)


def test_every_second_inlier_trains_and_the_anomalies_judge(tmp_path):
    values = np.arange(20, dtype=np.float64).reshape(10, 2)
    label = np.array([0, 1, 0, 0, 1, 0, 0, 0, 0, 1])
    table = a_table(tmp_path, "npz", X=values, y=label)
    assert table.train[:, 0].tolist() == [0, 6, 12, 16]
    assert table.good[:, 0].tolist() == [4, 10, 14]
    assert table.defective[:, 0].tolist() == [2, 8, 18]
    assert table.train.dtype == np.float32


def test_rows_before_the_fault_of_a_tennessee_eastman_run_are_normal(tmp_path):
    runs = {
        name: np.full((n, 2), value, dtype=np.float32)
        for name, n, value in (("d00", 5, 0), ("d00_te", 6, 1), ("d01", 7, 2), ("d01_te", 200, 3))
    }
    runs["d01_te"][160:] = 4
    table = a_table(tmp_path, "tep", **runs)
    assert sorted(set(table.train[:, 0].tolist())) == [0, 1]
    assert len(table.train) == 11
    assert set(table.good[:, 0].tolist()) == {3}
    assert set(table.defective[:, 0].tolist()) == {4}
    assert len(table.good) == len(table.defective) == 4


def test_every_file_of_the_real_sets_is_there_and_has_both_kinds(shared_data):
    for case in read_sets().tables:
        table = read_table(case, shared_data)
        assert min(len(table.train), len(table.good), len(table.defective)) >= 5, case.name
        assert table.train.shape[1] == table.good.shape[1] == table.defective.shape[1]
