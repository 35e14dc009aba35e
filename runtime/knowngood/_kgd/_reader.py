"""Reading a section from its first byte to its last, never beyond."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import ModelFileError

from ._refusal import Rule, refuse

MAX_STRING_BYTES = 65_535
_U8, _U32, _I32 = struct.Struct("<B"), struct.Struct("<I"), struct.Struct("<i")
_U64, _I64 = struct.Struct("<Q"), struct.Struct("<q")
_F32, _F64 = struct.Struct("<f"), struct.Struct("<d")


class Reader:
    """A place in a section; every method reads what its name says and moves on.

    Attributes:
        where: what messages call the place: the section, and the item in it.
    """

    def __init__(self, data: memoryview, where: str) -> None:
        self.where = where
        self._data = data
        self._place = 0

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return len(self._data) - self._place

    def u8(self, what: str) -> int:
        return int(self._number(_U8, what))

    def u32(self, what: str) -> int:
        return int(self._number(_U32, what))

    def i32(self, what: str) -> int:
        return int(self._number(_I32, what))

    def u64(self, what: str) -> int:
        return int(self._number(_U64, what))

    def i64(self, what: str) -> int:
        return int(self._number(_I64, what))

    def f32(self, what: str) -> float:
        return self._finite(float(self._number(_F32, what)), what)

    def f64(self, what: str) -> float:
        return self._finite(float(self._number(_F64, what)), what)

    def count(self, what: str, low: int, high: int, item_bytes: int) -> int:
        """A u32 from ``low`` to ``high`` whose items, of at least ``item_bytes``, can follow."""
        value = self.u32(what)
        if not low <= value <= high:
            raise self.refusal(what, Rule.COUNTS, f"{low} to {high}", value)
        if value * item_bytes > self.remaining:
            raise self.refusal(
                what,
                Rule.COUNTS,
                f"{value} items of {item_bytes} bytes or more",
                f"{self.remaining} bytes",
            )
        return value

    def code(self, what: str, names: tuple[Any, ...]) -> Any:
        """The name whose place in ``names`` is the u32 read."""
        value = self.u32(what)
        if value >= len(names):
            raise self.refusal(what, Rule.CODES, f"0 to {len(names) - 1}", value)
        return names[value]

    def string(self, what: str) -> str:
        size = self.count(f"{what}: bytes", 0, MAX_STRING_BYTES, 1)
        try:
            text = str(self._take(size, what), "utf-8")
        except UnicodeDecodeError as error:
            raise self.refusal(what, Rule.FINITE_AND_TEXT, "UTF-8", error.reason) from error
        if "\0" in text:
            raise self.refusal(what, Rule.FINITE_AND_TEXT, "text without NUL", "a NUL")
        return text

    def u32s(self, what: str, n: int) -> tuple[int, ...]:
        return struct.unpack(f"<{n}I", self._take(4 * n, what))

    def raw(self, what: str, n_bytes: int) -> bytes:
        """So many bytes, copied."""
        return bytes(self._take(n_bytes, what))

    def array(self, what: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """A read-only array; ``dtype`` is little-endian, the result native."""
        n_bytes = np.dtype(dtype).itemsize * math.prod(shape)
        return as_array(self._take(n_bytes, what), dtype, shape)

    def end(self) -> None:
        """Refuse bytes after the last field."""
        if self.remaining:
            raise self.refusal(
                "its end", Rule.COUNTS, "nothing behind the last field", f"{self.remaining} bytes"
            )

    def refusal(self, what: str, rule: Rule, expected: object, found: object) -> ModelFileError:
        """The error to raise about ``what`` here."""
        return refuse(f"{self.where}: {what}", rule, expected, found)

    def _number(self, layout: struct.Struct, what: str) -> float:
        value: float = layout.unpack(self._take(layout.size, what))[0]
        return value

    def _take(self, n_bytes: int, what: str) -> memoryview:
        start, end = self._place, self._place + n_bytes
        if end > len(self._data):
            raise self.refusal(what, Rule.COUNTS, f"{n_bytes} bytes", f"{self.remaining} bytes")
        self._place = end
        return self._data[start:end]

    def _finite(self, value: float, what: str) -> float:
        if not math.isfinite(value):
            raise self.refusal(what, Rule.FINITE_AND_TEXT, "a finite number", value)
        return value


def as_array(data: memoryview, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """A read-only array on the bytes themselves; a copy only where the machine is big-endian."""
    stored = np.frombuffer(data, dtype=dtype).reshape(shape)
    return stored.astype(stored.dtype.newbyteorder("="), copy=False)
