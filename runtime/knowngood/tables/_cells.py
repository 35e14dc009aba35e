"""Cells of a table: texts and numbers turned into the arrays that a lot is made of.

Texts are object arrays with an empty string where a cell is missing, numbers are arrays of any
numeric dtype with NaN where a cell is missing; all have the shape ``(n_dies,)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import InputError

Place = Callable[[int], str]
"""Names a row (from 0) for people: ``"line 7"`` of a CSV file, ``"row 6"`` elsewhere."""

MISSING_TEXTS = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none"})
"""Cells that mean *missing*, in lower case."""

_PASS_TEXTS = {
    **dict.fromkeys(("1", "1.0", "true", "t", "pass", "passed", "p"), 1),
    **dict.fromkeys(("0", "0.0", "false", "f", "fail", "failed"), 0),
    **dict.fromkeys(MISSING_TEXTS, -1),
}


def number_in(cell: str) -> float | None:
    """The number a cell holds, NaN if it is missing, None if the cell is some other text."""
    if cell.strip().casefold() in MISSING_TEXTS:
        return float("nan")
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def as_numbers(cells: NDArray[Any], source: object, column: str, place: Place) -> NDArray[Any]:
    """Texts as float64; numbers as they are.

    Raises:
        InputError: naming file, row, column and the text that is not a number.
    """
    if cells.dtype != object:
        return cells
    numbers = [number_in(cell) for cell in cells]
    for row, number in enumerate(numbers):
        if number is None:
            raise unexpected(source, place(row), column, "a number or nothing", cells[row])
    return np.array(numbers, dtype=np.float64)


def as_integers(
    cells: NDArray[Any], default: int, source: object, column: str, place: Place
) -> NDArray[np.int32]:
    """Texts or numbers as int32, ``default`` where missing.

    Raises:
        InputError: a cell that is not a whole number within int32.
    """
    numbers = as_numbers(cells, source, column, place).astype(np.float64)
    missing = np.isnan(numbers)
    whole = (np.abs(numbers) < 2**31) & (np.trunc(numbers) == numbers)
    for row in np.flatnonzero(~missing & ~whole)[:1]:
        expected = (
            "a whole number, for a column of this name describes the die "
            f"(a test is written with units, '{column} [V]')"
        )
        raise unexpected(source, place(int(row)), column, expected, numbers[row])
    return np.where(missing, default, numbers).astype(np.int32)


def as_texts(cells: NDArray[Any]) -> NDArray[np.object_]:
    """Texts or numbers as texts, whole numbers without a decimal point."""
    if cells.dtype == object:
        return cells
    return np.array([_text_of(number) for number in cells.tolist()], dtype=object)


def _text_of(number: float) -> str:
    if number != number:
        return ""
    return str(int(number)) if float(number).is_integer() else str(number)


def as_pass_flags(
    cells: NDArray[Any], source: object, column: str, place: Place
) -> NDArray[np.int8]:
    """Texts or numbers as the tester's word: 1 pass, 0 fail, −1 where missing.

    Raises:
        InputError: a cell that is none of pass, fail, true, false, 1 and 0.
    """
    flags = [_PASS_TEXTS.get(text.strip().casefold()) for text in as_texts(cells)]
    for row, flag in enumerate(flags):
        if flag is None:
            expected = "pass, fail, true, false, 1, 0 or nothing"
            raise unexpected(source, place(row), column, expected, cells[row])
    return np.array(flags, dtype=np.int8)


def as_constant(cells: NDArray[Any], source: object, column: str) -> str:
    """The one text that every cell holds which is not missing, empty if all are missing.

    Raises:
        InputError: there are several; a lot has one part type, temperature, flow and program.
    """
    different = sorted({text.strip() for text in as_texts(cells)} - {""})
    if len(different) > 1:
        raise InputError(
            f"{source}: column {column!r} says what the whole lot was tested as, and holds "
            f"{len(different)} different values ({different[0]!r}, {different[1]!r} …). Split the "
            f"file; if it is a test, write its header with units, '{column} [C]'"
        )
    return different[0] if different else ""


def as_values(
    numbers: NDArray[Any], source: object, columns: Sequence[str], place: Place
) -> NDArray[np.float32]:
    """Numbers ``(n_dies, n_columns)`` of any width as float32, which is what STDF stores.

    Raises:
        InputError: a finite number that is too large for float32.
    """
    with np.errstate(over="ignore"):
        values = numbers.astype(np.float32)
    if numbers.dtype.kind == "f":
        lost = np.isinf(values) & np.isfinite(numbers)
        for row, column in np.argwhere(lost)[:1].tolist():
            expected = "a number below 3.4e38 (float32)"
            raise unexpected(source, place(row), columns[column], expected, numbers[row, column])
    return values


def unexpected(source: object, place: str, column: str, expected: str, found: object) -> InputError:
    """The error for one bad cell."""
    shown = repr(found) if isinstance(found, str) else str(found)
    return InputError(f"{source}: {place}, column {column!r}: expected {expected}, found {shown}")
