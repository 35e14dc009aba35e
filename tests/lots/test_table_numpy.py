"""NumPy files: bare matrices and described ones."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from knowngood._errors import InputError, SchemaMismatchError
from knowngood._lot import NO_COORDINATE
from knowngood._read_lot import read_lot
from knowngood._schema import Purpose, Schema, Test


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "lot.npz"
    np.savez(path, **arrays)
    return path


@given(
    hnp.arrays(
        st.one_of(
            hnp.floating_dtypes(sizes=(16, 32, 64)),
            hnp.integer_dtypes(sizes=(8, 16, 32)),
            hnp.unsigned_integer_dtypes(sizes=(8, 16, 32)),
        ),
        st.tuples(st.integers(1, 4), st.integers(1, 4)),
        elements={"min_value": 0, "max_value": 100, "allow_nan": False},
    )
)
def test_every_real_dtype_and_byte_order_is_read(
    tmp_path_factory: pytest.TempPathFactory, matrix: np.ndarray
) -> None:
    path = tmp_path_factory.mktemp("npy") / "m.npy"
    np.save(path, np.asfortranarray(matrix))
    lot = read_lot(path)
    assert lot.values.dtype == np.dtype("=f4")
    assert lot.values.tolist() == matrix.astype(np.float64).astype(np.float32).tolist()
    assert lot.schema == Schema.anonymous(matrix.shape[1])


def test_an_npz_describes_tests_and_dies(tmp_path: Path) -> None:
    path = save(
        tmp_path,
        values=np.array([[1.0, np.nan], [3.0, 4.0]]),
        names=np.array(["VDD@P1", "IDD [A]"]),
        numbers=np.array([10, 20], np.int32),
        units=np.array(["V", "mA"]),
        low=np.array([0.5, np.nan], np.float32),
        high=np.array([np.nan, 7.0], np.float32),
        lot=np.array("LOT9"),
        wafer=np.array([1, 2]),
        x=np.array([3, NO_COORDINATE]),
        y=np.array([4, 5]),
        tester_pass=np.array([True, False]),
        part_type=np.array("GOLD"),
        temperature=np.array([25.0, 25.0]),
    )
    lot = read_lot(path)
    assert lot.schema.tests == (
        Test(10, "VDD", "P1", "V", low=0.5),
        Test(20, "IDD", "", "mA", high=7.0),
    )
    assert lot.schema.purpose == Purpose(part_type="GOLD", temperature="25")
    assert lot.dies.lot.tolist() == ["LOT9", "LOT9"]
    assert lot.dies.wafer.tolist() == ["1", "2"]
    assert lot.dies.x.tolist() == [3, NO_COORDINATE]
    assert lot.dies.y.tolist() == [4, 5]
    assert lot.dies.tester_pass.tolist() == [1, 0]


def test_y_beside_X_is_a_label_and_not_a_coordinate(tmp_path: Path) -> None:  # noqa: N802
    path = save(tmp_path, X=np.ones((3, 2)), y=np.array([-1, 1, -1]), time=np.arange(3))
    plain = read_lot(path)
    assert plain.dies.y.tolist() == [NO_COORDINATE] * 3
    assert plain.dies.tester_pass.tolist() == [-1] * 3
    assert plain.facts.odd == ("neither tests nor known descriptions, so ignored: y, time",)
    judged = read_lot(path, good_if="y == -1")
    assert judged.dies.tester_pass.tolist() == [1, 0, 1]
    assert judged.facts.odd == ("neither tests nor known descriptions, so ignored: time",)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.ones((3, 2), complex)}, "array 'X' has dtype complex128; expected real"),
        ({"X": np.array([["a", "b"]])}, "array 'X' has dtype <U1; expected real"),
        ({"X": np.array([[1, None]], object)}, "not a NumPy file of plain arrays.*allow_pickle"),
        ({"X": np.ones((2, 2)), "z": np.array([None])}, "not a NumPy file of plain arrays"),
        ({"X": np.ones(3)}, r"shape \(3,\); expected a matrix"),
        ({"X": np.ones((2, 2, 2))}, r"shape \(2, 2, 2\); expected a matrix"),
        ({"foo": np.ones((3, 2))}, "'values' or 'X'; the arrays are: foo"),
        ({"X": np.ones((0, 2))}, "no dies"),
        ({"X": np.ones((2, 0))}, "no tests"),
        ({"X": np.ones((3, 2)), "names": np.array(["a"])}, r"'names' has shape \(1,\); .*\(2,\)"),
        ({"X": np.ones((3, 2)), "names": np.array(["a", "a"])}, "test '0 a' comes more than once"),
        ({"values": np.ones((3, 2)), "x": np.ones(2)}, r"'x' has .*shape \(2,\).*\(3,\)"),
        ({"values": np.ones((1, 2)), "x": np.ones(1, complex)}, "'x' has dtype complex128"),
        ({"X": np.full((2, 2), 1e39)}, "row 1, column '0': expected a number below 3.4e38"),
        ({"X": np.ones((1, 2)), "low": np.array(["a", "b"])}, "array 'low' holds 'a'"),
        ({"X": np.ones((1, 2)), "numbers": np.array([1.5, 2])}, "array 'numbers' holds 1.5"),
    ],
)
def test_arrays_that_make_no_lot_are_refused(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_lot(save(tmp_path, **arrays))


def test_structured_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.npy"
    np.save(path, np.ones(3, dtype=[("a", "f4"), ("b", "f4")]))
    with pytest.raises(InputError, match="expected real numbers"):
        read_lot(path)


@given(st.data())
def test_damaged_files_give_a_lot_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    suffix = data.draw(st.sampled_from([".npy", ".npz"]))
    stream = io.BytesIO()
    if suffix == ".npy":
        np.save(stream, np.arange(12.0).reshape(3, 4))
    else:
        np.savez(stream, X=np.arange(12.0).reshape(3, 4), y=np.arange(3))
    damaged = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / f"lot{suffix}"
    path.write_bytes(damaged[: data.draw(st.integers(1, len(damaged)))])
    try:
        lot = read_lot(path)
    except InputError:
        return
    assert lot.values.shape == (len(lot.dies), lot.schema.n_tests)


def test_a_bare_matrix_takes_the_tests_of_a_schema_of_its_width(tmp_path: Path) -> None:
    path = tmp_path / "m.npy"
    np.save(path, np.ones((2, 2)))
    schema = Schema((Test(1, "VDD"), Test(2, "IDD")))
    assert read_lot(path, schema=schema).schema == schema
    with pytest.raises(SchemaMismatchError, match="2 columns without names; expected the 1 tests"):
        read_lot(path, schema=schema.select([0]))


def test_an_infinite_limit_is_no_limit(tmp_path: Path) -> None:
    path = save(tmp_path, values=np.ones((2, 2)), low=[-np.inf, 0.5], high=[np.inf, np.nan])
    schema = read_lot(path).schema
    assert [(t.low, t.high) for t in schema.tests] == [(None, None), (0.5, None)]
    assert len(schema.digest) == 64


def test_a_bare_matrix_of_another_temperature_is_not_the_schemas(tmp_path: Path) -> None:
    path = save(tmp_path, values=np.ones((2, 1)), temperature="125")
    schema = Schema((Test(1, "VDD"),), Purpose(temperature="25"))
    with pytest.raises(SchemaMismatchError, match="temperature"):
        read_lot(path, schema=schema)
