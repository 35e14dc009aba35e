"""The verdict table: one row per die attempt, as CSV or Parquet, with a run record beside it.

Cells are empty where there is nothing to say: no coordinate, no bin, the tester did not say pass
or fail, or the die is unscored. A float32 is written with as many digits as bring it back.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ._atomic import write_together
from ._errors import InputError, UsageError
from ._extras import require
from ._lot import NO_BIN, NO_COORDINATE
from ._run_record import describe_run, read_run, record_path, run_bytes
from ._verdicts import Disposition, Reason, Verdict

if TYPE_CHECKING:
    from ._judge import LotResult

_Kind = Literal["text", "integer", "boolean", "real", "verdict", "reason", "disposition"]
_Cell = str | int | float | bool | None
_PARQUET_TYPES: dict[_Kind, str] = {"integer": "int32", "boolean": "bool_", "real": "float32"}


@dataclass(frozen=True)
class _Column:
    """A column of the file; ``absent`` is what an empty cell means in memory."""

    name: str
    kind: _Kind
    absent: Any = None


_COLUMNS = (
    _Column("lot", "text"),
    _Column("wafer", "text"),
    _Column("x", "integer", NO_COORDINATE),
    _Column("y", "integer", NO_COORDINATE),
    _Column("head", "integer"),
    _Column("site", "integer"),
    _Column("part_id", "text"),
    _Column("hard_bin", "integer", NO_BIN),
    _Column("soft_bin", "integer", NO_BIN),
    _Column("tester_pass", "boolean", -1),
    _Column("n_missing", "integer"),
    _Column("score", "real", np.nan),
    _Column("threshold", "real"),
    _Column("verdict", "verdict"),
    _Column("reason", "reason"),
    _Column("disposition", "disposition"),
    _Column("top_tests", "text"),
)
COLUMN_NAMES = tuple(column.name for column in _COLUMNS)


@dataclass(frozen=True, eq=False)
class VerdictTable:
    """A verdict table in memory; every column has shape ``(n_dies,)``.

    Attributes:
        lot, wafer, part_id: str (object dtype).
        x, y: int32; ``NO_COORDINATE`` where absent.
        head, site: int32.
        hard_bin, soft_bin: int32; ``NO_BIN`` where absent.
        tester_pass: int8; 1 pass, 0 fail, −1 the tester did not say.
        n_missing: int32.
        score, threshold: float32; the score of an unscored die is NaN.
        verdict, reason: int8, values of ``Verdict`` and ``Reason``.
        disposition: object, ``Disposition``.
        top_tests: str (object dtype), ``1020 VDD_IDDQ=+6.1; …`` for rejected dies.
        run: the run record, None where its file is not beside the table.
    """

    lot: NDArray[np.object_]
    wafer: NDArray[np.object_]
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    head: NDArray[np.int32]
    site: NDArray[np.int32]
    part_id: NDArray[np.object_]
    hard_bin: NDArray[np.int32]
    soft_bin: NDArray[np.int32]
    tester_pass: NDArray[np.int8]
    n_missing: NDArray[np.int32]
    score: NDArray[np.float32]
    threshold: NDArray[np.float32]
    verdict: NDArray[np.int8]
    reason: NDArray[np.int8]
    disposition: NDArray[np.object_]
    top_tests: NDArray[np.object_]
    run: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.score)


def write_verdicts(
    path: str | Path,
    results: Sequence[LotResult],
    *,
    inputs: Sequence[str | Path] = (),
    good_if: str | None = None,
) -> dict[str, Any]:
    """Write the verdicts of one or more lots as one table, with ``<path>.run.json`` beside it.

    Args:
        path: ``.csv`` or ``.parquet``.
        results: in the order of the table's rows, all from one scorer.
        inputs: the file of each lot; by default what the lot says of its source.
        good_if: the condition that the lots were read with, for the record.

    Returns:
        The run record.

    Raises:
        UsageError: another suffix, or the files cannot be written.
        MissingExtraError: Parquet is asked for and pyarrow is not installed.
    """
    path = Path(path)
    encode = _ENCODERS[check_suffix(path)]
    table = encode(_cells_of(results))
    record = describe_run(results, inputs, good_if)
    write_together({path: table, record_path(path): run_bytes(record)})
    return record


def check_suffix(path: str | Path) -> str:
    """The suffix of a verdict table, so that a wrong one is found before the work is done.

    Raises:
        UsageError: neither ``.csv`` nor ``.parquet``.
        MissingExtraError: ``.parquet``, and pyarrow is not installed.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _ENCODERS:
        raise UsageError(f"{path}: a verdict table is written as .csv or .parquet, by its name")
    if suffix == ".parquet":
        _pyarrow()
    return suffix


def read_verdicts(path: str | Path) -> VerdictTable:
    """Read a verdict table and the run record beside it.

    Raises:
        InputError: missing, not a verdict table, or a cell that cannot be read.
        MissingExtraError: a Parquet table, and pyarrow is not installed.
    """
    path = Path(path)
    decode = _DECODERS.get(path.suffix.lower())
    if decode is None:
        raise InputError(f"{path} is no verdict table: expected .csv or .parquet")
    try:
        cells = decode(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    arrays = {c.name: _array(c, cells[c.name], path) for c in _COLUMNS}
    return VerdictTable(**arrays, run=read_run(path))


def _cells_of(results: Sequence[LotResult]) -> dict[str, list[_Cell]]:
    cells: dict[str, list[_Cell]] = {name: [] for name in COLUMN_NAMES}
    for result in results:
        arrays = _arrays_of(result)
        for column in _COLUMNS:
            cells[column.name] += [_cell(column, value) for value in arrays[column.name]]
    return cells


def _arrays_of(result: LotResult) -> dict[str, NDArray[Any]]:
    return {
        **{name: getattr(result.lot.dies, name) for name in COLUMN_NAMES[:10]},
        "n_missing": result.n_missing,
        "score": result.scores,
        "threshold": np.full(len(result), result.threshold, dtype=np.float32),
        "verdict": result.verdicts,
        "reason": result.reasons,
        "disposition": result.dispositions,
        "top_tests": result.top_texts(),
    }


def _cell(column: _Column, value: Any) -> _Cell:
    if value == column.absent or value != value:  # an unscored die's NaN
        return None
    return _TO_CELL[column.kind](value)


_TO_CELL: dict[_Kind, Callable[[Any], _Cell]] = {
    "text": str,
    "integer": int,
    "boolean": bool,
    "real": lambda value: value,  # stays float32: its shortest text brings it back
    "verdict": lambda value: Verdict(value).name,
    "reason": lambda value: Reason(value).text,
    "disposition": str,
}


def _encode_csv(cells: dict[str, list[_Cell]]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMN_NAMES)
    texts = ([_csv_text(cell) for cell in cells[name]] for name in COLUMN_NAMES)
    writer.writerows(zip(*texts, strict=True))
    return stream.getvalue().encode()


def _csv_text(cell: _Cell) -> str:
    if cell is None:
        return ""
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


def _encode_parquet(cells: dict[str, list[_Cell]]) -> bytes:
    pa = _pyarrow()
    columns = {
        c.name: pa.array(cells[c.name], getattr(pa, _PARQUET_TYPES.get(c.kind, "string"))())
        for c in _COLUMNS
    }
    sink = pa.BufferOutputStream()
    require("pyarrow.parquet", extra="parquet", needed_for="Parquet").write_table(
        pa.table(columns), sink
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _decode_csv(path: Path) -> dict[str, list[_Cell]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.reader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no verdict table: {error}") from error
    header = rows[0] if rows else []
    _check_columns(header, path)
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise InputError(
                f"{path}, row {number}: {len(row)} cells, the header has {len(header)}"
            )
    place = {name: header.index(name) for name in COLUMN_NAMES}
    return {
        c.name: [_from_csv(c, row[place[c.name]], path, n) for n, row in enumerate(rows[1:], 2)]
        for c in _COLUMNS
    }


def _from_csv(column: _Column, text: str, path: Path, row: int) -> _Cell:
    try:
        return _FROM_CSV.get(column.kind, str)(text)
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{path}, row {row}, column {column.name}: {text!r} is not {column.kind}"
        ) from error


def _optional(parse: Callable[[str], _Cell]) -> Callable[[str], _Cell]:
    return lambda text: parse(text) if text else None


_BOOLEANS = {"true": True, "false": False}
_FROM_CSV: dict[_Kind, Callable[[str], _Cell]] = {
    "integer": _optional(int),
    "boolean": _optional(lambda text: _BOOLEANS[text.lower()]),
    "real": _optional(float),
}


def _decode_parquet(path: Path) -> dict[str, list[_Cell]]:
    pa = _pyarrow()
    parquet = require("pyarrow.parquet", extra="parquet", needed_for="reading Parquet")
    try:
        table = parquet.read_table(path)
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{path} is no Parquet file: {error}") from error
    _check_columns(table.column_names, path)
    return {name: table.column(name).to_pylist() for name in COLUMN_NAMES}


def _pyarrow() -> Any:
    return require("pyarrow", extra="parquet", needed_for="a verdict table as Parquet")


def _check_columns(header: Iterable[str], path: Path) -> None:
    absent = [name for name in COLUMN_NAMES if name not in header]
    if absent:
        raise InputError(f"{path} is no verdict table: it has no column {', '.join(absent)}")


_DTYPES: dict[_Kind, Any] = {"integer": np.int32, "boolean": np.int8, "real": np.float32}
_VERDICT_OF = {v.name: v for v in Verdict}
_REASON_OF = {r.text: r for r in Reason}
_DISPOSITION_OF = {str(d): d for d in Disposition}
_NAMED: dict[_Kind, tuple[dict[str, Any], Any]] = {
    "verdict": (_VERDICT_OF, np.int8),
    "reason": (_REASON_OF, np.int8),
    "disposition": (_DISPOSITION_OF, object),
}


def _array(column: _Column, cells: list[_Cell], path: Path) -> NDArray[Any]:
    """A column in memory, from cells that are None where they are empty."""
    try:
        if column.kind in _NAMED:
            meaning, dtype = _NAMED[column.kind]
            return _filled([meaning[str(cell or "")] for cell in cells], dtype)
        if column.kind == "text":
            return _filled([str(cell or "") for cell in cells], object)
        filled = [column.absent if cell is None else cell for cell in cells]
        return _filled(filled, _DTYPES[column.kind])
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{path}, column {column.name}: a cell cannot be read: {error}") from error


def _filled(values: Sequence[Any], dtype: Any) -> NDArray[Any]:
    array = np.empty(len(values), dtype=dtype)
    array[:] = values
    return array


_ENCODERS = {".csv": _encode_csv, ".parquet": _encode_parquet}
_DECODERS = {".csv": _decode_csv, ".parquet": _decode_parquet}
