"""CSV files: what is a test, what describes dies, and what is refused."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowngood._errors import InputError
from knowngood._lot import NO_BIN, NO_COORDINATE
from knowngood._read_lot import read_lot
from knowngood._schema import Test

_NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="[];\t\r\n\0", exclude_categories=["Cs", "Zs"]),
    min_size=1,
    max_size=12,
).filter(lambda name: name == name.strip())
_PINS = st.text("ABCxyz019_", min_size=1, max_size=5)
_TESTS = st.builds(
    Test,
    number=st.integers(0, 2**32 - 1),
    name=_NAMES,
    pin=st.one_of(st.just(""), _PINS),
    units=st.sampled_from(["", "V", "uA", "mV/°C", "%"]),
)
_CELLS = st.one_of(st.none(), st.floats(width=32, allow_nan=False))


def write(folder: Path, text: str, name: str = "lot.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def header_of(test: Test) -> str:
    """The header as the reader's documentation describes it."""
    return f"{test.number} {test.name}@{test.pin}" + (f" [{test.units}]" if test.units else "")


def csv_bytes(tests: Sequence[Test], rows: Sequence[Sequence[float | None]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow([header_of(test) for test in tests] + ["part_id"])
    for number, row in enumerate(rows):
        writer.writerow(["" if v is None else repr(v) for v in row] + [f"P{number}"])
    return stream.getvalue().encode()


@given(st.data())
def test_a_written_lot_is_read_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    tests = data.draw(st.lists(_TESTS, min_size=1, max_size=5, unique_by=lambda t: t.key))
    width = len(tests)
    rows = data.draw(
        st.lists(st.lists(_CELLS, min_size=width, max_size=width), min_size=1, max_size=8)
    )
    path = tmp_path_factory.mktemp("csv") / "lot.csv.gz"
    path.write_bytes(gzip.compress(csv_bytes(tests, rows)))
    lot = read_lot(path)
    expected = np.array([[np.nan if v is None else v for v in row] for row in rows], np.float32)
    np.testing.assert_array_equal(lot.values, expected)
    assert np.signbit(lot.values[~np.isnan(expected)]).tolist() == (
        np.signbit(expected[~np.isnan(expected)]).tolist()
    )
    assert lot.schema.tests == tuple(tests)
    assert lot.dies.part_id.tolist() == [f"P{i}" for i in range(len(rows))]


@pytest.mark.parametrize(
    ("header", "test"),
    [
        ("VDD", Test(0, "VDD")),
        ("1020 VDD_IDDQ@PIN3 [uA]", Test(1020, "VDD_IDDQ", "PIN3", "uA")),
        ("1020 VDD IDDQ", Test(1020, "VDD IDDQ")),
        ("1020", Test(1020, "")),
        ("Air temperature [K]", Test(0, "Air temperature", "", "K")),
        ("220 IDD1 @ 1.25MHz <> curr", Test(220, "IDD1 @ 1.25MHz <> curr")),
        ("0 TEST_1:pass_limit[1]", Test(0, "TEST_1:pass_limit[1]")),
        ("IDD@5V@ [A]", Test(0, "IDD@5V", "", "A")),
        ("4294967295 T", Test(2**32 - 1, "T")),
        ("4294967296 T", Test(0, "4294967296 T")),
        ("2.4 GHz gain", Test(0, "2.4 GHz gain")),
    ],
)
def test_headers_name_tests(tmp_path: Path, header: str, test: Test) -> None:
    assert read_lot(write(tmp_path, f"{header}\n1\n")).schema.tests == (test,)


def test_a_test_keeps_its_key_when_columns_move(tmp_path: Path) -> None:
    one = read_lot(write(tmp_path, "a,b\n1,2\n", "one.csv"))
    other = read_lot(write(tmp_path, "b,a\n2,1\n", "other.csv"))
    assert {t.key for t in one.schema.tests} == {t.key for t in other.schema.tests}


def test_columns_named_like_the_verdict_table_describe_dies(tmp_path: Path) -> None:
    lot = read_lot(
        write(
            tmp_path,
            "lot,wafer,x,y,head,site,part_id,hard_bin,soft_bin,tester_pass,VDD\n"
            "A1,W2,-3,4,2,7,p9,1,100,true,1.5\n"
            "A1,W2,,,,,,,,,1.6\n"
            "A1,W2,-3,4,2,7,p9,5,500,fail,1.7\n",
        )
    )
    dies = lot.dies
    assert lot.schema.tests == (Test(0, "VDD"),)
    assert dies.lot.tolist() == ["A1"] * 3
    assert dies.wafer.tolist() == ["W2"] * 3
    assert dies.x.tolist() == [-3, NO_COORDINATE, -3]
    assert dies.y.tolist() == [4, NO_COORDINATE, 4]
    assert (dies.head.tolist(), dies.site.tolist()) == ([2, 1, 2], [7, 0, 7])
    assert dies.part_id.tolist() == ["p9", "", "p9"]
    assert dies.hard_bin.tolist() == [1, NO_BIN, 5]
    assert dies.soft_bin.tolist() == [100, NO_BIN, 500]
    assert dies.tester_pass.tolist() == [1, -1, 0]
    assert dies.attempt.tolist() == [1, 1, 2]
    assert dies.is_final.tolist() == [False, True, True]


def test_stdf_field_names_describe_dies_too(tmp_path: Path) -> None:
    text = "LOT_ID,X_COORD,Y_COORD,SITE_NUM,HBIN,Soft Bin,V\nL,1,2,3,4,5,6\n"
    lot = read_lot(write(tmp_path, text))
    dies = lot.dies
    found = (dies.lot[0], dies.x[0], dies.y[0], dies.site[0], dies.hard_bin[0], dies.soft_bin[0])
    assert found == ("L", 1, 2, 3, 4, 5)
    assert lot.schema.tests == (Test(0, "V"),)


def test_a_file_without_descriptions_is_a_lot_of_its_own_name(tmp_path: Path) -> None:
    dies = read_lot(write(tmp_path, "V\n1\n2\n", "lot7.csv")).dies
    assert dies.lot.tolist() == ["lot7", "lot7"]
    assert dies.part_id.tolist() == ["1", "2"]
    assert dies.tester_pass.tolist() == [-1, -1]
    assert dies.is_final.all()


def test_purpose_columns_say_what_the_lot_was_tested_as(tmp_path: Path) -> None:
    text = "part_type,temperature,flow,program,revision,V\nGOLD,25,FT,p.tp,,1\nGOLD,25,FT,,3,2\n"
    purpose = read_lot(write(tmp_path, text)).schema.purpose
    assert (purpose.part_type, purpose.temperature, purpose.flow) == ("GOLD", "25", "FT")
    assert (purpose.program, purpose.revision) == ("p.tp", "3")


def test_units_make_a_test_of_any_name(tmp_path: Path) -> None:
    lot = read_lot(write(tmp_path, "temperature [C],x [mm]\n25,1.5\n85,2.5\n"))
    assert [t.name for t in lot.schema.tests] == ["temperature", "x"]


@pytest.mark.parametrize("missing", ["", "NaN", "nan", "NA", "N/A", "#N/A", "null", "None", " "])
def test_missing_cells_are_nan(tmp_path: Path, missing: str) -> None:
    values = read_lot(write(tmp_path, f"a,b\n1,{missing}\n2,3\n")).values
    np.testing.assert_array_equal(values, [[1, np.nan], [2, 3]])


def test_infinities_are_kept_for_the_scorer_to_refuse(tmp_path: Path) -> None:
    values = read_lot(write(tmp_path, "a,b\n1,inf\n-Infinity,3\n")).values
    np.testing.assert_array_equal(values, [[1, np.inf], [-np.inf, 3]])


@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_the_separator_is_the_one_the_header_has(tmp_path: Path, separator: str) -> None:
    text = f'"a,1"{separator}b{separator}c\n1{separator}2{separator}3\n'
    assert read_lot(write(tmp_path, text)).values.tolist() == [[1, 2, 3]]


def test_a_byte_order_mark_windows_lines_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    lot = read_lot(write(tmp_path, "\ufeffa,b\r\n1,2\r\n\r\n3,4\r\n\r\n"))
    assert lot.schema.tests[0].name == "a"
    assert lot.values.tolist() == [[1, 2], [3, 4]]


def test_columns_of_text_are_ignored_and_reported(tmp_path: Path) -> None:
    lot = read_lot(write(tmp_path, "operator,V,empty\nkim,1,\n7,2,\nlee,3,\n"))
    assert [t.name for t in lot.schema.tests] == ["V", "empty"]
    assert len(lot.facts.odd) == 1
    assert "operator" in lot.facts.odd[0]
    assert np.isnan(lot.values[:, 1]).all()


def test_chunks_join_seamlessly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knowngood.tables._csv._CELLS_AT_ONCE", 7)
    text = "a,b\n" + "".join(f"{i},{i * i}\n" for i in range(50))
    assert read_lot(write(tmp_path, text)).values.tolist() == [[i, i * i] for i in range(50)]
    with pytest.raises(InputError, match="line 52, column 'b'"):
        read_lot(write(tmp_path, text + "1,oops\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n2,3\n3,oops\n", "line 4, column 'b': expected a number.*found 'oops'"),
        ("a,b\n1,2\n2,3\n3,1_0\n", "line 4, column 'b': expected a number.*found '1_0'"),
        ("a,b\n1,2\n3\n", "line 3 has 1 fields, the header has 2"),
        ("a,b\n1,2\n\n1,2,3\n", "line 4 has 3 fields, the header has 2"),
        ("a,a\n1,2\n", "column name 'a' comes more than once"),
        ("5 a,5  a\n1,2\n", "test '5 a' comes more than once"),
        ("x,X_COORD,a\n1,1,2\n", "'x' comes more than once"),
        (",a\n0,1\n", "column 1 has no name"),
        ("a,b\nred,blue\n", "no tests.*a, b"),
        ("lot,x\nA,1\n", "no tests.*lot, x"),
        ("a,b\n", "no dies"),
        ("\n\n", "expected a header in the first line"),
        ("a,b\n1,1e39\n", "line 2, column 'b': expected a number below 3.4e38"),
        ("a,b\n1,1e999\n", "line 2, column 'b': expected a number below 3.4e38"),
        ("a;b\n1;2,5\n", "line 2, column 'b': expected a number with a decimal point"),
        ('a,b\n1,"2\n', "not a CSV file"),
        ("x,a\n1.5,1\n", r"line 2, column 'x': expected a whole number.*'x \[V\]'.*1.5"),
        ("x,a\n1e10,1\n", "line 2, column 'x': expected a whole number"),
        ("site,a\nleft,1\n", "line 2, column 'site': expected a number or nothing, found 'left'"),
        ("tester_pass,a\nmaybe,1\n", "line 2, column 'tester_pass'.*'maybe'"),
        ("temperature,a\n25,1\n85,2\n", "column 'temperature'.*2 different values"),
        ("verdict,disposition,top_tests,score\nPASS,keep,,1\n", "table of verdicts"),
    ],
)
def test_bad_tables_are_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_lot(write(tmp_path, text))
    assert "lot.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a CSV file in UTF-8.*89 hex"),
        ("a,b\n1,é\n".encode("latin-1"), "not a CSV file in UTF-8.*e9 hex"),
        ("a,b\n1,2\n".encode("utf-16"), "not a CSV file in UTF-8"),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 9999, mtime=0)[:-20], "cut-off gzip"),
        (
            gzip.compress(b"a,b\n" + b"1,2\n" * 9, mtime=0)[:-8] + b"\0" * 8,
            "damaged or cut-off gzip",
        ),
    ],
)
def test_bytes_that_are_no_csv_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "lot.csv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_lot(path)


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_give_a_lot_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("junk") / "lot.csv"
    path.write_bytes(b"a,b\n1,2\n" + data)
    try:
        lot = read_lot(path)
    except InputError:
        return
    assert lot.values.shape == (len(lot.dies), lot.schema.n_tests)
