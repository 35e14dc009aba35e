"""Writing STDF V4 record by record."""

from __future__ import annotations

from typing import Any, Protocol

from .._errors import UsageError
from ._codec import PREFIX, encode, number
from ._layout import LAYOUTS, RECORD_TYPES

_CPU_TYPES = {"big": 1, "little": 2}
_MAX_PAYLOAD = 65535


class ByteSink(Protocol):
    """What the writer needs of a stream."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""


class StdfWriter:
    """Writes records to a binary stream; the FAR is written at once.

    >>> writer = StdfWriter(stream, byte_order="big")
    >>> writer.write("MIR", LOT_ID="L1", PART_TYP="GOLD", JOB_NAM="probe")
    >>> writer.write("PIR", HEAD_NUM=1, SITE_NUM=0)

    Args:
        stream: takes bytes; it stays open.
        byte_order: ``"little"`` or ``"big"``.
    """

    def __init__(self, stream: ByteSink, *, byte_order: str = "little") -> None:
        if byte_order not in PREFIX:
            raise UsageError(f"byte_order must be 'little' or 'big', found {byte_order!r}")
        self.byte_order = byte_order
        self._stream = stream
        self.write("FAR", CPU_TYPE=_CPU_TYPES[byte_order], STDF_VER=4)

    def write(self, name: str, **fields: Any) -> None:
        """Write one record: fields up to the last one given, those omitted before it as *missing*.

        Raises:
            UsageError: an unknown record or field, or a value that its field cannot hold.
        """
        self.write_bytes(self.pack(name, **fields))

    def pack(self, name: str, **fields: Any) -> bytes:
        """The bytes of one record, header included."""
        if name not in LAYOUTS:
            raise UsageError(f"cannot write {name!r} records; known are {', '.join(LAYOUTS)}")
        payload = encode(name, fields, self.byte_order)
        if len(payload) > _MAX_PAYLOAD:
            raise UsageError(
                f"{name} of {len(payload)} bytes; a record holds at most {_MAX_PAYLOAD}"
            )
        header = number("U2", self.byte_order).pack(len(payload)) + bytes(RECORD_TYPES[name])
        return header + payload

    def write_bytes(self, records: bytes) -> None:
        """Write whole records that are already bytes in this writer's byte order."""
        self._stream.write(records)
