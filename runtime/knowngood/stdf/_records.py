"""One record after another: for looking into a file, and for tools that need every record."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._codec import PREFIX, decode
from ._layout import LAYOUTS, record_name
from ._stream import StdfStream


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file.

    Attributes:
        typ, sub: REC_TYP and REC_SUB.
        offset: where its header starts, in uncompressed bytes.
        payload: what follows the header.
        byte_order: ``"little"`` or ``"big"``.
    """

    typ: int
    sub: int
    offset: int
    payload: bytes
    byte_order: str

    @property
    def name(self) -> str:
        """``PTR``, or ``(180, 1)`` for an unknown type."""
        return record_name(self.typ, self.sub)

    def fields(self) -> dict[str, Any]:
        """Field names and values, without those cut from the end; empty for types not decoded."""
        return decode(LAYOUTS.get(self.name, ()), self.payload, self.byte_order)


def iter_records(path: str | Path) -> Iterator[Record]:
    """Every whole record of the file, in order; memory stays flat.

    A file that breaks off ends the iteration after its last whole record.

    Raises:
        InputError: not an STDF V4 file, empty, or unreadable.
    """
    with StdfStream(path) as stream:
        order = stream.byte_order
        header = struct.Struct(PREFIX[order] + "HBB")
        base, rest = 0, b""
        for block in stream.chunks():
            chunk = rest + block
            position = 0
            while position + 4 <= len(chunk):
                length, typ, sub = header.unpack_from(chunk, position)
                end = position + 4 + length
                if end > len(chunk):
                    break
                yield Record(typ, sub, base + position, chunk[position + 4 : end], order)
                position = end
            base, rest = base + position, chunk[position:]
