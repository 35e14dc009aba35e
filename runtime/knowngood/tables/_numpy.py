"""NumPy files: a bare matrix (.npy), or a matrix with what describes it (.npz).

An .npz holds the matrix as ``values`` or ``X`` (or ``arr_0``, NumPy's own name), one row per die
and one column per test, and besides it, all optional:

- per test: ``names`` (written like the headers of a CSV file), ``numbers``, ``pins``, ``units``,
  ``low`` and ``high`` (limits, NaN for none);
- per die: ``lot``, ``wafer``, ``x``, ``y``, ``head``, ``site``, ``part_id``, ``hard_bin``,
  ``soft_bin``, ``tester_pass``;
- of the lot: ``part_type``, ``temperature``, ``flow``, ``program``, ``revision``.

Beside ``X`` a ``y`` is a label, as machine learning writes it, and not a coordinate. A label
says nothing by itself: a condition such as ``y == 0`` says which dies are good.
Pickled objects are never read.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import InputError
from .._schema import Schema, Test
from ._cells import as_values
from ._columns import DIE_FIELDS, PURPOSE_FIELDS, parse_test
from ._table import Table

_MATRIX_NAMES = ("values", "X", "arr_0")
_TEST_ARRAYS = ("names", "numbers", "pins", "units", "low", "high")


def read_npy(path: Path) -> Table:
    """Read a matrix without names; its tests are ``0 test_0`` and so on.

    Raises:
        InputError: damaged, pickled, not a matrix, or not numbers.
    """
    matrix = _matrix(path, "the array", _load_mapped(path))
    return Table(path, "npy", matrix, Schema.anonymous(matrix.shape[1]).tests, {})


def read_npz(path: Path) -> Table:
    """Read a matrix with its descriptions; other arrays with a value per die become labels.

    Raises:
        InputError: damaged, pickled, no matrix, or an array that does not fit it.
    """
    arrays = _load_all(path)
    name = next((n for n in _MATRIX_NAMES if n in arrays), None)
    if name is None:
        raise InputError(
            f"{path}: expected a matrix (dies × tests) named 'values' or 'X'; "
            f"the arrays are: {', '.join(arrays) or 'none'}"
        )
    matrix = _matrix(path, f"array {name!r}", arrays.pop(name))
    about_tests = {n: arrays.pop(n) for n in _TEST_ARRAYS if n in arrays}
    fields = PURPOSE_FIELDS | set(DIE_FIELDS) - ({"x", "y"} if name == "X" else set())
    return Table(
        path=path,
        kind="npz",
        values=matrix,
        tests=_tests(path, about_tests, matrix.shape[1]),
        descriptions={n: _cells(path, n, arrays[n], len(matrix)) for n in arrays if n in fields},
        labels={
            n: _cells(path, n, array, len(matrix))
            for n, array in arrays.items()
            if n not in fields and array.shape == (len(matrix),) and array.dtype.kind in "fiubU"
        },
        ignored=tuple(n for n in arrays if n not in fields),
        headers=tuple(arrays),
    )


def _load_mapped(path: Path) -> NDArray[Any]:
    """The array where it lies, which checks that the file is as long as its header says."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # on damaged headers NumPy raises what its parser happens to
        raise _unreadable(path, error) from error
    return array


def _load_all(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile, zlib and NumPy each have their own
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> InputError:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return InputError(f"{path} is not a NumPy file of plain arrays, or is damaged: {reason}")


def _matrix(path: Path, what: str, array: NDArray[Any]) -> NDArray[np.float32]:
    if array.dtype.kind not in "fiub":
        raise InputError(f"{path}: {what} has dtype {array.dtype}; expected real numbers")
    if array.ndim != 2:
        raise InputError(
            f"{path}: {what} has shape {array.shape}; expected a matrix (dies × tests)"
        )
    columns = [f"{i}" for i in range(array.shape[1])]
    return as_values(array, path, columns, lambda row: f"row {row + 1}")


def _tests(path: Path, given: dict[str, NDArray[Any]], n_tests: int) -> tuple[Test, ...]:
    for name, array in given.items():
        if array.shape != (n_tests,):
            raise InputError(
                f"{path}: array {name!r} has shape {array.shape}; expected ({n_tests},), "
                "one element per column of the matrix"
            )
    tests = Schema.anonymous(n_tests).tests
    if "names" in given:
        tests = tuple(parse_test(str(name)) for name in given["names"])
    for name, (attribute, convert) in _ATTRIBUTES.items():
        if name in given:
            elements = [_converted(path, name, e, convert) for e in given[name].tolist()]
            tests = tuple(
                replace(t, **{attribute: e}) for t, e in zip(tests, elements, strict=True)
            )
    return tests


def _limit(element: float) -> float | None:
    return float(element) if math.isfinite(element) else None


_ATTRIBUTES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "numbers": ("number", operator.index),
    "pins": ("pin", str),
    "units": ("units", str),
    "low": ("low", _limit),
    "high": ("high", _limit),
}


def _converted(path: Path, name: str, element: Any, convert: Callable[[Any], Any]) -> Any:
    try:
        return convert(element)
    except TypeError as error:
        raise InputError(f"{path}: array {name!r} holds {element!r}: {error}") from error


def _cells(path: Path, name: str, array: NDArray[Any], n_dies: int) -> NDArray[Any]:
    if array.dtype.kind not in "fiubU" or array.shape not in ((), (n_dies,)):
        raise InputError(
            f"{path}: array {name!r} has dtype {array.dtype} and shape {array.shape}; "
            f"expected numbers or texts, ({n_dies},), one element per die"
        )
    cells = array.astype(object) if array.dtype.kind == "U" else array
    return np.broadcast_to(cells, (n_dies,))
