"""CSV files: a header, then one row per die; UTF-8, plain or gzip.

Fields are separated by commas, semicolons or tabs, whichever the header has most of. A column is a
test if at least half of its cells that are not missing are numbers; then any other text in it is
an error, because a reading would be lost. Columns with fewer numbers are ignored and reported.
Blank lines are skipped.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from .._errors import InputError
from ._cells import as_values, number_in, unexpected
from ._columns import check_headers, describes, parse_test
from ._table import Table

_CELLS_AT_ONCE = 400_000
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*")
_GZIP_MAGIC = b"\x1f\x8b"


def read_csv(path: Path, is_description: Callable[[str], bool]) -> Table:
    """Read a CSV file.

    Raises:
        InputError: naming file, line and column of what cannot be read.
    """
    with _opened(path) as stream:
        first_line = stream.readline()
        delimiter = _delimiter(first_line)
        headers = _headers(path, first_line, delimiter)
        texts = {h: _Texts() for h in headers if is_description(h)}
        numbers = {h: _Numbers(path, h) for h in headers if not is_description(h)}
        columns = [texts.get(h) or numbers[h] for h in headers]
        lines: list[int] = []
        for some_lines, some_rows in _chunks(path, stream, delimiter, len(headers)):
            for column, cells in zip(columns, zip(*some_rows, strict=True), strict=True):
                column.add(cells, some_lines)
            lines.extend(some_lines)
    tests = [column for column in numbers.values() if column.is_test]
    return Table(
        path=path,
        kind="csv",
        values=_matrix(tests, len(lines)),
        tests=tuple(parse_test(column.header) for column in tests),
        descriptions={h: column.array() for h, column in texts.items() if describes(h)},
        labels={h: column.array() for h, column in texts.items() if not describes(h)},
        ignored=tuple(c.header for c in numbers.values() if not c.is_test),
        headers=tuple(headers),
        lines=np.array(lines, dtype=np.int64),
    )


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        with open(path, "rb") as raw:
            zipped = raw.peek(2)[:2] == _GZIP_MAGIC
            data = gzip.GzipFile(fileobj=raw) if zipped else raw
            with io.TextIOWrapper(data, encoding="utf-8-sig", newline="") as stream:
                yield stream
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not a CSV file in UTF-8: {error.reason} "
            f"({error.object[error.start : error.start + 1].hex()} hex). "
            "Save it as UTF-8, or name it after what it is"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is a damaged or cut-off gzip file: {error}") from error
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file: {error}") from error


def _delimiter(first_line: str) -> str:
    unquoted = re.sub(r'"[^"]*"', "", first_line)
    return max(",;\t", key=unquoted.count)


def _headers(path: Path, first_line: str, delimiter: str) -> list[str]:
    if not first_line.strip():
        raise InputError(f"{path}: expected a header in the first line, found nothing")
    headers = [h.strip() for h in next(csv.reader([first_line], delimiter=delimiter, strict=True))]
    check_headers(path, headers)
    return headers


def _chunks(
    path: Path, stream: TextIO, delimiter: str, width: int
) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Rows with the file's line of each, a bounded number of cells at a time."""
    rows = _numbered(stream, delimiter)
    while chunk := list(islice(rows, max(1, _CELLS_AT_ONCE // width))):
        for line, row in chunk:
            if len(row) != width:
                raise InputError(
                    f"{path}: line {line} has {len(row)} fields, the header has {width}; "
                    "every line needs the same number"
                )
        yield [line for line, _ in chunk], [row for _, row in chunk]


def _numbered(stream: TextIO, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    rows = csv.reader(stream, delimiter=delimiter, strict=True)
    for row in rows:
        if row:
            yield rows.line_num + 1, row  # the header is line 1


@dataclass
class _Texts:
    """A column kept as it is written, but for blanks around a cell."""

    cells: list[str] = field(default_factory=list)

    def add(self, cells: Sequence[str], lines: Sequence[int]) -> None:
        self.cells.extend(cell.strip() for cell in cells)

    def array(self) -> NDArray[np.object_]:
        return np.array(self.cells, dtype=object)


@dataclass
class _Numbers:
    """A column that may be a test: its numbers, and what else was found in it."""

    path: Path
    header: str
    parts: list[NDArray[np.float32]] = field(default_factory=list)
    n_numbers: int = 0
    n_texts: int = 0
    first_text: tuple[int, str] = (0, "")

    @property
    def is_test(self) -> bool:
        return self.n_texts == 0 or self.n_numbers >= self.n_texts

    def add(self, cells: Sequence[str], lines: Sequence[int]) -> None:
        numbers = _plain_numbers(cells)
        if numbers is None:
            numbers = self._any_cells(cells, lines)
        self.n_numbers += int(np.count_nonzero(~np.isnan(numbers)))
        values = as_values(
            numbers[:, np.newaxis], self.path, [self.header], lambda row: f"line {lines[row]}"
        )
        self.parts.append(values[:, 0])

    def values(self) -> NDArray[np.float32]:
        if self.n_texts:
            line, text = self.first_text
            raise unexpected(self.path, f"line {line}", self.header, "a number or nothing", text)
        return np.concatenate(self.parts)

    def _any_cells(self, cells: Sequence[str], lines: Sequence[int]) -> NDArray[np.float64]:
        numbers = np.full(len(cells), np.nan)
        for row, cell in enumerate(cells):
            number = number_in(cell)
            if number is None and _DECIMAL_COMMA.fullmatch(cell):
                expected = "a number with a decimal point"
                raise unexpected(self.path, f"line {lines[row]}", self.header, expected, cell)
            if number is None:
                self.first_text = self.first_text if self.n_texts else (lines[row], cell)
                self.n_texts += 1
            elif np.isinf(number) and "inf" not in cell.casefold():
                expected = "a number below 3.4e38 (float32)"
                raise unexpected(self.path, f"line {lines[row]}", self.header, expected, cell)
            else:
                numbers[row] = number
        return numbers


def _plain_numbers(cells: Sequence[str]) -> NDArray[np.float64] | None:
    """Numbers and empty cells, which is what almost all columns hold; None if there is more."""
    try:
        numbers = np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        return None
    # float() takes 1_000 for a number, and 1e999 for infinity
    return None if np.isinf(numbers).any() or "_" in "".join(cells) else numbers


def _matrix(columns: Sequence[_Numbers], n_dies: int) -> NDArray[np.float32]:
    values = np.empty((n_dies, len(columns)), dtype=np.float32)
    for position, column in enumerate(columns if n_dies else ()):
        values[:, position] = column.values()
    return values
