"""The loop over records: results go to the row of their site's die, in the column of their test."""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ._codec import PREFIX, decode, number
from ._dies import DieLog
from ._layout import (
    LAYOUTS,
    PARAMETER_INVALID,
    RECORD_TYPES,
    RESULT_INVALID,
    record_name,
)
from ._tests import TestRegister
from ._values import GrowingValues

_PTR_FIXED = 12
"""Bytes of a PTR up to the end of RESULT: number, head, site, two flags, result."""
_NO_DIE = -1


class Assembler:
    """Turns the bytes of a file into dies, tests and values.

    Args:
        byte_order: of the file.
        register: learns the tests.
        values: takes the results; None counts them only.
    """

    def __init__(
        self, byte_order: str, register: TestRegister, values: GrowingValues | None
    ) -> None:
        self.dies = DieLog(byte_order)
        self.register = register
        self.counts: Counter[int] = Counter()
        self.odd = self.dies.odd
        self.n_results = 0
        self.rows_with_data = np.zeros(0, dtype=np.bool_)
        self.columns_with_data = np.zeros(0, dtype=np.bool_)
        self._values = values
        self._order = byte_order
        self._header = struct.Struct(PREFIX[byte_order] + "HH")
        self._float = np.dtype(PREFIX[byte_order] + "f4")
        self._nan = number("R4", byte_order).pack(np.nan)
        self._mpr_head = struct.Struct(PREFIX[byte_order] + "6xBxHH")
        self._queue: list[tuple[int, NDArray[np.int64], bytes]] = []
        self._ptr = self._kind("PTR")
        self._handlers: dict[int, Callable[[bytes], None]] = {
            self._kind("PTR"): self._short_ptr,
            self._kind("MPR"): self._mpr,
            self._kind("PIR"): self.dies.open,
            self._kind("PRR"): self.dies.close,
            self._kind("WIR"): self.dies.start_wafer,
            self._kind("WRR"): self.dies.end_wafer,
            self._kind("MIR"): self.dies.start_lot,
            self._kind("PMR"): self._pmr,
        }

    def feed(self, chunk: bytes) -> int:
        """Take in the whole records at the start of ``chunk``; returns how many bytes they are.

        The loop runs once a record, a million times a second, so it works on local names.
        """
        unpack, ptr = self._header.unpack_from, self._ptr
        counts, handlers = self.counts, self._handlers
        columns_of, learn = self.register.columns.get, self.register.learn_ptr
        row_of = self.dies.open_rows.get
        bodies, columns, rows = array("q"), array("q"), array("q")
        add_body, add_column, add_row = bodies.append, columns.append, rows.append
        position, size = 0, len(chunk)
        while position + 4 <= size:
            length, kind = unpack(chunk, position)
            body = position + 4
            end = body + length
            if end > size:
                break
            if kind == ptr and length >= _PTR_FIXED:
                raw = chunk[body : body + 4] + chunk[body + _PTR_FIXED : end]
                column = columns_of(raw)
                add_column(learn(raw) if column is None else column)
                add_row(row_of(chunk[body + 4 : body + 6], _NO_DIE))
                add_body(body)
            else:
                counts[kind] += 1
                if kind in handlers:
                    handlers[kind](chunk[body:end])
            position = end
        counts[ptr] += len(bodies)
        if bodies:
            self._take_results(
                chunk, *(np.frombuffer(a, dtype=np.int64) for a in (bodies, columns, rows))
            )
        if self._queue:
            self._take_queue()
        return position

    def records(self) -> dict[str, int]:
        """How many records of each type there were, by name."""
        packer = number("U2", self._order)
        pairs = ((packer.pack(kind), n) for kind, n in self.counts.items() if n)
        return {record_name(typ, sub): n for (typ, sub), n in pairs}

    def _kind(self, name: str) -> int:
        """REC_TYP and REC_SUB as the one number that the header's last two bytes make."""
        kind: int = number("U2", self._order).unpack(bytes(RECORD_TYPES[name]))[0]
        return kind

    def _take_results(
        self,
        chunk: bytes,
        bodies: NDArray[np.int64],
        columns: NDArray[np.int64],
        rows: NDArray[np.int64],
    ) -> None:
        """Decode the results of a chunk's PTRs, which start at ``bodies``, all at once."""
        octets = np.frombuffer(chunk, dtype=np.uint8)
        raw = octets[bodies[:, None] + np.arange(8, _PTR_FIXED)]
        values = raw.view(self._float).ravel().astype(np.float32)
        values[octets[bodies + 6] & RESULT_INVALID != 0] = np.nan
        values[octets[bodies + 7] & PARAMETER_INVALID != 0] = np.nan
        self._store(rows, columns, values)

    def _store(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], values: NDArray[np.float32]
    ) -> None:
        self.odd["results outside any die (no PIR before them), left out"] += int(
            np.count_nonzero(rows == _NO_DIE)
        )
        kept = (rows != _NO_DIE) & (columns >= 0)
        if not kept.all():
            rows, columns, values = rows[kept], columns[kept], values[kept]
        self.n_results += len(rows)
        self.rows_with_data = _mark(self.rows_with_data, self.dies.n_rows, rows)
        self.columns_with_data = _mark(self.columns_with_data, self.register.width, columns)
        if self._values is not None:
            self._values.put(self.dies.n_rows, self.register.width, rows, columns, values)

    def _short_ptr(self, _: bytes) -> None:
        """A PTR that is cut before the end of RESULT says nothing."""
        self.odd["PTR cut before their result"] += 1

    def _mpr(self, payload: bytes) -> None:
        """Queue an MPR's results; they are stored with the others of the chunk."""
        if len(payload) < _PTR_FIXED:
            self.odd["MPR cut before their results"] += 1
            return
        test_flags, n_pins, n_results = self._mpr_head.unpack_from(payload)
        start = _PTR_FIXED + (n_pins + 1) // 2
        end = start + 4 * n_results
        if end > len(payload):
            self.odd["MPR cut before their results"] += 1
            return
        is_valid = not (test_flags & RESULT_INVALID or payload[7] & PARAMETER_INVALID)
        results = payload[start:end] if is_valid else self._nan * n_results
        columns = self.register.mpr_columns(payload[:4], n_pins, n_results, payload[end:])
        self._queue.append((self.dies.open_rows.get(payload[4:6], _NO_DIE), columns, results))

    def _take_queue(self) -> None:
        rows, columns, results = zip(*self._queue, strict=True)
        self._queue.clear()
        self._store(
            np.repeat(np.array(rows, dtype=np.int64), [len(c) for c in columns]),
            np.concatenate(columns),
            np.frombuffer(b"".join(results), dtype=self._float).astype(np.float32),
        )

    def _pmr(self, payload: bytes) -> None:
        pmr = decode(LAYOUTS["PMR"], payload, self._order)
        if "PMR_INDX" in pmr:
            self.register.pins.add(pmr)


def _mark(marks: NDArray[np.bool_], n: int, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """``marks`` with those at ``places`` set, grown to at least ``n``."""
    if n > len(marks):
        marks = np.concatenate([marks, np.zeros(n + n // 4 - len(marks), dtype=np.bool_)])
    marks[places] = True
    return marks
