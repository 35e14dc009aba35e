"""A table of test results, whatever file it came from, and the lot it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import InputError
from .._lot import NO_BIN, NO_COORDINATE, Dies, Lot, LotFacts, mark_attempts, source_name
from .._schema import Purpose, Schema, Test
from ._cells import as_constant, as_integers, as_pass_flags, as_texts
from ._columns import PURPOSE_FIELDS, describes, die_field, refuse_repeated
from ._good_if import Condition, apply_condition

_MISSING_INTEGER = {
    "x": NO_COORDINATE,
    "y": NO_COORDINATE,
    "head": 1,
    "site": 0,
    "hard_bin": NO_BIN,
    "soft_bin": NO_BIN,
}


@dataclass(frozen=True)
class Table:
    """What the readers of CSV, Parquet, npz and npy files return.

    Attributes:
        path: the file.
        kind: "csv", "parquet", "npz" or "npy".
        values: float32 ``(n_dies, n_tests)``, NaN where missing.
        tests: one for each column of ``values``.
        descriptions: columns that describe dies or the lot, by header: texts (object, empty where
            missing) or numbers (NaN where missing), each ``(n_dies,)``.
        labels: further columns, of the same form, that a condition may ask for.
        ignored: headers of the columns that mean nothing unless a condition asks for them.
        headers: every column of the file, in its order.
        lines: line of the file for each row, None if the file has no lines.
    """

    path: Path
    kind: str
    values: NDArray[np.float32]
    tests: tuple[Test, ...]
    descriptions: dict[str, NDArray[Any]]
    labels: dict[str, NDArray[Any]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    lines: NDArray[np.int64] | None = None

    def place(self, row: int) -> str:
        """A row in words."""
        return f"row {row + 1}" if self.lines is None else f"line {self.lines[row]}"


def is_description(condition: Condition | None) -> Callable[[str], bool]:
    """Tells a reader which headers are not tests; the condition's column is none either."""
    column = condition.column if condition else None
    return lambda header: describes(header) or header == column


def lot_of(table: Table, condition: Condition | None) -> Lot:
    """The lot that a table describes.

    A table that does not say so is one lot named like its file; its dies are numbered from 1.

    Raises:
        InputError: no dies, no tests, two columns for one test, or a cell that makes no sense.
    """
    _refuse_nothing(table)
    dies = _dies(table)
    if condition is not None:
        columns = {**columns_of(dies), **table.descriptions, **table.labels}
        passes = apply_condition(condition, columns, table.path, table.place, table.headers)
        dies = replace(dies, tester_pass=passes)
    facts = LotFacts(source=str(table.path), kind=table.kind, odd=_odd(table, condition))
    return Lot(table.values, Schema(table.tests, _purpose(table)), dies, facts)


def columns_of(dies: Dies) -> dict[str, NDArray[Any]]:
    """The descriptions of dies by name, for conditions; numbers are NaN where missing."""
    columns: dict[str, NDArray[Any]] = {}
    for name in ("lot", "wafer", "part_id"):
        columns[name] = getattr(dies, name)
    for name, missing in _MISSING_INTEGER.items():
        numbers = getattr(dies, name)
        never_missing = name in ("head", "site")
        columns[name] = numbers if never_missing else np.where(numbers == missing, np.nan, numbers)
    columns["tester_pass"] = np.where(dies.tester_pass < 0, np.nan, dies.tester_pass)
    return columns


def _refuse_nothing(table: Table) -> None:
    if not len(table.values):
        raise InputError(f"{table.path}: no dies; expected at least one row of test results")
    if not table.tests:
        others = ", ".join([*table.descriptions, *table.ignored])
        besides = f" besides {others}" if others else ""
        raise InputError(f"{table.path}: no tests; expected columns of numbers{besides}")
    refuse_repeated(table.path, "test", [test.label for test in table.tests])


def _dies(table: Table) -> Dies:
    n_dies = len(table.values)
    given: dict[str, NDArray[Any]] = {}
    for header, cells in table.descriptions.items():
        name = die_field(header)
        if name is not None:
            given[name] = _die_column(name, header, cells, table)
    dies = replace(Dies.anonymous(n_dies, lot=source_name(table.path)), **given)
    attempt, is_final = mark_attempts(dies.lot, dies.wafer, dies.x, dies.y, dies.part_id)
    return replace(dies, attempt=attempt, is_final=is_final)


def _die_column(name: str, header: str, cells: NDArray[Any], table: Table) -> NDArray[Any]:
    if name in _MISSING_INTEGER:
        return as_integers(cells, _MISSING_INTEGER[name], table.path, header, table.place)
    if name == "tester_pass":
        return as_pass_flags(cells, table.path, header, table.place)
    return as_texts(cells)


def _purpose(table: Table) -> Purpose:
    given = {
        header: as_constant(cells, table.path, header)
        for header, cells in table.descriptions.items()
        if header in PURPOSE_FIELDS
    }
    return Purpose(**{f.name: given.get(f.name, "") for f in fields(Purpose)})


def _odd(table: Table, condition: Condition | None) -> tuple[str, ...]:
    asked_for = condition.column if condition else None
    ignored = [header for header in table.ignored if header != asked_for]
    if not ignored:
        return ()
    shown = ", ".join(ignored[:12]) + (" …" if len(ignored) > 12 else "")
    return (f"neither tests nor known descriptions, so ignored: {shown}",)
