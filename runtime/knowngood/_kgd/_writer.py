"""Writing a section: what cannot be written exactly is an error of the caller."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import UsageError


class Writer:
    """Bytes of one section, in the order in which they are added."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._parts: list[bytes] = []

    def getvalue(self) -> bytes:
        """All that was added."""
        return b"".join(self._parts)

    def u8(self, what: str, value: int) -> None:
        self._pack("<B", what, value)

    def u32(self, what: str, value: int) -> None:
        self._pack("<I", what, value)

    def u32s(self, what: str, values: tuple[int, ...]) -> None:
        for value in values:
            self._pack("<I", what, value)

    def i32(self, what: str, value: int) -> None:
        self._pack("<i", what, value)

    def u64(self, what: str, value: int) -> None:
        self._pack("<Q", what, value)

    def i64(self, what: str, value: int) -> None:
        self._pack("<q", what, value)

    def f64(self, what: str, value: float) -> None:
        self._pack("<d", what, value)

    def f32(self, what: str, value: float) -> None:
        """A number that float32 holds exactly: a rounded threshold decides other dies."""
        with np.errstate(over="ignore"):
            stored = float(np.float32(value))
        if stored != value:
            raise UsageError(
                f"{self._where}: {what}: expected a number that float32 holds, found {value!r}"
            )
        self._pack("<f", what, value)

    def string(self, what: str, text: str) -> None:
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{self._where}: {what}: {text!r} is no Unicode text") from error
        self._pack("<I", what, len(data))
        self._parts.append(data)

    def raw(self, what: str, data: bytes, n_bytes: int) -> None:
        """Exactly so many bytes, as they are."""
        if len(data) != n_bytes:
            raise UsageError(f"{self._where}: {what}: expected {n_bytes} bytes, found {len(data)}")
        self._parts.append(bytes(data))

    def array(self, what: str, array: NDArray[Any], dtype: str) -> None:
        """An array of exactly this dtype, C order, little-endian."""
        self._parts.append(little_endian(f"{self._where}: {what}", array, dtype))

    def _pack(self, layout: str, what: str, value: float) -> None:
        try:
            self._parts.append(struct.pack(layout, value))
        except (struct.error, OverflowError, TypeError) as error:
            raise UsageError(f"{self._where}: {what}: cannot be {value!r}: {error}") from error


def little_endian(what: str, array: NDArray[Any], dtype: str) -> bytes:
    """Bytes of an array that must have this dtype, in either byte order.

    Raises:
        UsageError: it has another, so that writing it would round or cut it.
    """
    wanted = np.dtype(dtype)
    found = np.asarray(array)
    if found.dtype.newbyteorder("<") != wanted:
        raise UsageError(f"{what}: expected an array of {wanted.name}, found {found.dtype.name}")
    return found.astype(wanted, order="C", copy=False).tobytes()
