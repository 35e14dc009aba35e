"""Parquet files: one row per die; columns of numbers are tests unless they describe the die."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import InputError
from .._extras import require
from ._cells import as_values
from ._columns import check_headers, describes, parse_test
from ._table import Table

_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
"""What pandas calls the index of a frame that has been filtered or sorted: rows, no results."""


def read_parquet(path: Path, is_description: Callable[[str], bool]) -> Table:
    """Read a Parquet file; columns of texts, times and lists are ignored and reported.

    So is the index that pandas writes.

    Raises:
        InputError: the file is damaged, or has columns that cannot be told apart.
        MissingExtraError: pyarrow is not installed.
    """
    data = _read(path)
    headers = [header.strip() for header in data.schema.names]
    check_headers(path, headers)
    columns = {h: _cells(data.column(i)) for i, h in enumerate(headers)}
    known = {h: cells for h, cells in columns.items() if cells is not None}
    kinds = zip(headers, data.schema.types, strict=True)
    measured = {h for h, kind in kinds if _is_measured(kind) and not _PANDAS_INDEX.fullmatch(h)}
    tests = {h: c for h, c in known.items() if h in measured and not is_description(h)}
    values = np.empty((data.num_rows, len(tests)), dtype=np.float32)
    for position, (header, cells) in enumerate(tests.items()):
        values[:, position] = _values(path, header, cells)
    return Table(
        path=path,
        kind="parquet",
        values=values,
        tests=tuple(map(parse_test, tests)),
        descriptions={h: c for h, c in known.items() if describes(h)},
        labels={h: c for h, c in known.items() if h not in tests and not describes(h)},
        ignored=tuple(h for h in headers if h not in tests and not (h in known and describes(h))),
        headers=tuple(headers),
    )


def _read(path: Path) -> Any:
    arrow = require("pyarrow", extra="parquet", needed_for=f"reading {path.name}")
    parquet = require("pyarrow.parquet", extra="parquet", needed_for=f"reading {path.name}")
    try:
        return parquet.ParquetFile(path).read()
    except (arrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path} is a damaged or cut-off Parquet file: {reason}") from error


def _is_measured(kind: Any) -> bool:
    """Whether a column of this type holds measurements; flags are none."""
    kinds = require("pyarrow", extra="parquet", needed_for="reading Parquet").types
    return bool(kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind))


def _cells(column: Any) -> NDArray[Any] | None:
    """Numbers with NaN for null, texts with "" for null, None for any other type."""
    arrow = require("pyarrow", extra="parquet", needed_for="reading Parquet")
    kinds = arrow.types
    kind = column.type
    if kinds.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if kinds.is_string(kind) or kinds.is_large_string(kind):
        texts = ["" if text is None else text.strip() for text in column.to_pylist()]
        return np.array(texts, dtype=object)
    if (
        kinds.is_boolean(kind)
        or kinds.is_decimal(kind)
        or (kinds.is_integer(kind) and column.null_count)
    ):
        column = column.cast(arrow.float64(), safe=False)
    elif not (kinds.is_integer(kind) or kinds.is_floating(kind)):
        return None
    numbers: NDArray[Any] = column.to_numpy()
    return numbers


def _values(path: Path, header: str, cells: NDArray[Any]) -> NDArray[np.float32]:
    values = as_values(cells[:, np.newaxis], path, [header], lambda row: f"row {row + 1}")
    return values[:, 0]
