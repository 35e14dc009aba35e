"""Telling files apart, filtering by a schema, and the real data."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from knowngood._errors import InputError, SchemaMismatchError
from knowngood._lot import Dies, Lot
from knowngood._read_lot import read_lot
from knowngood._schema import Purpose, Schema, Test
from knowngood.stdf import write_lot

CSV = b"1 VDD [V],2 IDD [A]\n1.5,2.5\n"
VALUES = np.array([[1.5, 2.5]], np.float32)


def write_as(kind: str, path: Path) -> Path:
    """The same die in a file of each kind, under any name."""
    if kind == "stdf":
        schema = Schema((Test(1, "VDD", units="V"), Test(2, "IDD", units="A")))
        plain = path.with_name("plain.stdf")
        write_lot(plain, Lot(VALUES, schema, Dies.anonymous(1, lot="L", tester_pass=1)))
        path.write_bytes(plain.read_bytes())
    elif kind == "csv":
        path.write_bytes(CSV)
    elif kind == "parquet":
        pq.write_table(pa.table({"1 VDD [V]": [1.5], "2 IDD [A]": [2.5]}), path)
    elif kind == "npz":
        with path.open("wb") as stream:
            np.savez(stream, values=VALUES, names=np.array(["1 VDD [V]", "2 IDD [A]"]))
    else:
        with path.open("wb") as stream:
            np.save(stream, VALUES)
    return path


SUFFIXES = {
    "stdf": (".stdf", ".std", ".STDF", ".dat", ""),
    "csv": (".csv", ".CSV", ".txt", ".tsv"),
    "parquet": (".parquet", ".bin"),
    "npz": (".npz", ".zip"),
    "npy": (".npy", ".x"),
}


@pytest.mark.parametrize(("kind", "suffix"), [(k, s) for k in SUFFIXES for s in SUFFIXES[k]])
def test_each_kind_is_known_by_content_or_name(tmp_path: Path, kind: str, suffix: str) -> None:
    lot = read_lot(str(write_as(kind, tmp_path / f"lot{suffix}")))
    assert lot.facts.kind == kind
    assert lot.values.tolist() == VALUES.tolist()
    if kind != "npy":
        assert [(t.number, t.name, t.units) for t in lot.schema.tests] == [
            (1, "VDD", "V"),
            (2, "IDD", "A"),
        ]


@pytest.mark.parametrize("kind", ["stdf", "csv"])
def test_gzip_is_seen_through_whatever_the_name(tmp_path: Path, kind: str) -> None:
    plain = write_as(kind, tmp_path / "plain").read_bytes()
    for name in (f"lot.{kind}.gz", f"lot.{kind}"):
        (tmp_path / name).write_bytes(gzip.compress(plain))
        assert read_lot(tmp_path / name).values.tolist() == VALUES.tolist()


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("named", SUFFIXES)
def test_a_name_that_lies_is_refused(tmp_path: Path, kind: str, named: str) -> None:
    if kind == named:
        return
    path = write_as(kind, tmp_path / f"lot.{named}")
    with pytest.raises(InputError, match=rf"lot\.{named} is (named like|no|not)"):
        read_lot(path)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("lot.csv", b"", "lot.csv is empty"),
        ("lot.csv.gz", gzip.compress(b"", mtime=0), "lot.csv.gz is empty"),
        ("lot.csv.gz", b"\x1f\x8b\x08", "cannot read .*lot.csv.gz"),
        ("lot.stdf", b"hello, this is text", "lot.stdf is not an STDF file"),
        ("lot.dat", b"a,b\n1,2\n", "cannot tell what this file is.*\\.stdf.*\\.npy"),
        ("lot.parquet.gz", gzip.compress(b"PAR1" + bytes(40), mtime=0), "inside gzip; unpack it"),
        ("lot.npz", b"PK\x03\x04junk", "lot.npz is not a NumPy file"),
    ],
)
def test_files_that_are_nothing_are_refused(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_lot(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*nothing\.csv: No such file"):
        read_lot(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="is a folder; name the files in it"):
        read_lot(tmp_path)


def test_a_schema_keeps_its_tests_in_its_order_as_the_file_describes_them(tmp_path: Path) -> None:
    for kind in ("csv", "stdf"):
        path = write_as(kind, tmp_path / f"lot.{kind}")
        wanted = Schema((Test(2, "IDD", units="A", low=0.0, high=9.0),))
        lot = read_lot(path, schema=wanted)
        assert lot.values.tolist() == [[2.5]]
        assert lot.schema.tests == (Test(2, "IDD", units="A"),)
        assert any("limits" in note for note in lot.facts.odd)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (Schema((Test(3, "IDD"),)), "lot.csv: .*test '3 IDD' is not in the data"),
        (Schema((Test(2, "IDD", units="mA"),)), "units 'mA' became 'A'"),
    ],
)
def test_a_file_that_does_not_fit_the_schema_is_refused(
    tmp_path: Path, schema: Schema, message: str
) -> None:
    with pytest.raises(SchemaMismatchError, match=f"(?s){message}"):
        read_lot(write_as("csv", tmp_path / "lot.csv"), schema=schema)


def test_good_if_overrides_what_stdf_says(tmp_path: Path) -> None:
    schema = Schema((Test(1, "VDD", units="V"),))
    dies = Dies.anonymous(3, lot="L", tester_pass=1)
    dies.hard_bin[:] = [1, 2, 65535]
    path = tmp_path / "lot.stdf"
    write_lot(path, Lot(np.ones((3, 1), np.float32), schema, dies))
    assert read_lot(path).dies.tester_pass.tolist() == [1, 1, 1]
    assert read_lot(path, good_if="hard_bin == 1").dies.tester_pass.tolist() == [1, 0, -1]
    with pytest.raises(InputError, match="asks for column 'grade'"):
        read_lot(path, good_if="grade == 1")


def test_a_lot_without_results_is_refused(shared_data: Path) -> None:
    with pytest.raises(InputError, match="no parametric results"):
        read_lot(shared_data / "stdf" / "libstdf_sample.stdf.gz")


@pytest.mark.parametrize(
    ("name", "good_if", "shape", "n_good"),
    [  # figures of the data sets' own descriptions
        ("secom/secom.npz", "y == -1", (1070, 590), 1070 - 73),
        ("ucr_wafer/train.npz", "y != 1", (1000, 152), 1000 - 97),
        ("adbench/20_letter.npz", "y == 0", (1600, 32), 1500),
        ("ai4i2020/ai4i2020.csv", "Machine failure == 0", (10000, 11), 10000 - 339),
    ],
)
def test_real_tables(
    shared_data: Path, name: str, good_if: str, shape: tuple[int, int], n_good: int
) -> None:
    lot = read_lot(shared_data / name, good_if=good_if)
    assert lot.values.shape == shape
    assert np.count_nonzero(lot.dies.tester_pass == 1) == n_good


def test_a_real_csv_agrees_with_pandas(shared_data: Path) -> None:
    path = shared_data / "siph_wafers" / "Info_LMZ_AL810962.csv.gz"
    lot = read_lot(path)
    frame = pd.read_csv(path)
    assert lot.schema.purpose == Purpose()
    assert set(lot.dies.lot) == {"AL810962"}
    assert lot.dies.wafer.tolist() == frame["Wafer"].tolist()
    assert lot.dies.x.tolist() == frame["Column"].tolist()
    assert lot.dies.y.tolist() == frame["Row"].tolist()
    numeric = frame.drop(columns=["Lot", "Wafer", "Row", "Column"]).select_dtypes("number")
    expected = numeric.to_numpy(np.float64).astype(np.float32)
    np.testing.assert_array_equal(lot.values, expected)
