"""Parquet files, written by pyarrow."""

from __future__ import annotations

import datetime
import decimal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from knowngood._errors import InputError, MissingExtraError
from knowngood._read_lot import read_lot
from knowngood._schema import Test


def write(folder: Path, **columns: object) -> Path:
    path = folder / "lot.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_numbers_of_every_kind_are_tests(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        **{
            "7 f32 [V]": pa.array([1.5, None, 2.5], pa.float32()),
            "f64": pa.array([1e-9, 1e9, None], pa.float64()),
            "i16": pa.array([1, 2, 3], pa.int16()),
            "i64": pa.array([None, 2, 3], pa.int64()),
            "exact": pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("2.5")]),
        },
    )
    lot = read_lot(path)
    assert [t.name for t in lot.schema.tests] == ["f32", "f64", "i16", "i64", "exact"]
    assert lot.schema.tests[0] == Test(7, "f32", "", "V")
    nan = np.nan
    expected = [[1.5, 1e-9, 1, nan, 1.25], [nan, 1e9, 2, 2, nan], [2.5, nan, 3, 3, 2.5]]
    np.testing.assert_array_equal(lot.values, np.array(expected, np.float32))


def test_columns_describe_dies_whatever_their_type(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        lot=pa.array(["A", "A", None]).dictionary_encode(),
        wafer=pa.array([3, 3, 4]),
        x=pa.array([1, None, -5], pa.int32()),
        tester_pass=pa.array([True, False, None]),
        part_type=pa.array(["GOLD"] * 3),
        V=pa.array([1.0, 2.0, 3.0]),
    )
    lot = read_lot(path)
    assert lot.dies.lot.tolist() == ["A", "A", ""]
    assert lot.dies.wafer.tolist() == ["3", "3", "4"]
    assert lot.dies.x.tolist() == [1, -32768, -5]
    assert lot.dies.tester_pass.tolist() == [1, 0, -1]
    assert lot.schema.purpose.part_type == "GOLD"
    assert lot.schema.tests == (Test(0, "V"),)


def test_texts_times_flags_and_lists_are_ignored_and_reported(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        operator=pa.array(["kim"]),
        when=pa.array([datetime.datetime(2026, 1, 1)]),
        flag=pa.array([True]),
        trace=pa.array([[1.0, 2.0]]),
        V=pa.array([1.0]),
    )
    lot = read_lot(path)
    assert lot.schema.tests == (Test(0, "V"),)
    assert all(name in lot.facts.odd[0] for name in ("operator", "when", "flag", "trace"))


def test_good_if_may_use_ignored_columns_and_takes_tests_away(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        result=pa.array(["pass", "fail", None]),
        code=pa.array([0, 1, 0]),
        V=pa.array([1.0, 2.0, 3.0]),
    )
    assert read_lot(path, good_if="result == 'pass'").dies.tester_pass.tolist() == [1, 0, -1]
    lot = read_lot(path, good_if="code == 0")
    assert lot.dies.tester_pass.tolist() == [1, 0, 1]
    assert [t.name for t in lot.schema.tests] == ["V"]


def test_what_float32_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row 2, column 'V': expected a number below"):
        read_lot(write(tmp_path, V=pa.array([1.0, 1e39])))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, V=pa.array(np.arange(100.0)))
    data = path.read_bytes()
    for n_bytes in (4, 40, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:n_bytes])
        with pytest.raises(InputError, match=r"lot\.parquet is a damaged or cut-off Parquet"):
            read_lot(path)


def test_repeated_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lot.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], ["V", "V"]), path)
    with pytest.raises(InputError, match="column name 'V' comes more than once"):
        read_lot(path)


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, V=pa.array([1.0]))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'knowngood\[parquet\]'"):
        read_lot(path)


def test_the_index_that_pandas_writes_is_no_test(tmp_path: Path) -> None:
    path = tmp_path / "lot.parquet"
    frame = pd.DataFrame({"VDD": [1.0, 2.0, 3.0, 4.0]})
    frame[frame.VDD != 2].to_parquet(path)
    assert "__index_level_0__" in pq.read_schema(path).names
    lot = read_lot(path)
    assert [t.name for t in lot.schema.tests] == ["VDD"]
    assert any("__index_level_0__" in odd for odd in lot.facts.odd)
