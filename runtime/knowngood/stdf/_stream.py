"""From a file to chunks of whole bytes: gz or plain, byte order, and where the file breaks off.

What the bytes mean is left to ``_records`` and ``_assemble``.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .._errors import InputError

CHUNK_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_CPU_ORDER = {1: "big", 2: "little"}


class StdfStream:
    """The uncompressed bytes of one STDF V4 file.

    Attributes:
        path: the file.
        byte_order: ``"little"`` or ``"big"``, as the length of the first record shows.
        odd: what was unusual so far and tolerated.

    Raises:
        InputError: the file is not STDF V4, is empty, or cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.odd: list[str] = []
        self._file = self._open()
        try:
            self._blocks = self._decompressed() if self._is_gzip() else self._plain()
            self._first = self._read_first()
            self.byte_order = self._check_far(self._first)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> StdfStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def chunks(self) -> Iterator[bytes]:
        """Blocks of about one mebibyte in order, from the first byte; for one pass."""
        yield self._first
        self._first = b""
        yield from self._blocks

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror or error}") from error

    def _is_gzip(self) -> bool:
        magic = self._read(2)
        self._file.seek(0)
        return magic == _GZIP_MAGIC

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise InputError(
                f"{self.path}: reading failed at byte {self._file.tell()}: {error}"
            ) from error

    def _plain(self) -> Iterator[bytes]:
        while block := self._read(CHUNK_BYTES):
            yield block

    def _decompressed(self) -> Iterator[bytes]:
        """Every member of the gz file; one that breaks off yields what it holds.

        A broken-off stream is an exact prefix and is used; damage inside it (a wrong code, a
        wrong check sum) may have changed any value before it, so it is refused.
        """
        inflate = zlib.decompressobj(31)
        data = b""
        while True:
            data = data or self._read(CHUNK_BYTES // 4)
            if not data:
                self.odd.append("the gz stream breaks off before its end")
                return
            yield from self._inflate(inflate, data)
            data = inflate.unused_data
            if inflate.eof:
                data = (data or self._read(CHUNK_BYTES // 4)).lstrip(b"\0")
                if not data:
                    return
                if not data.startswith(_GZIP_MAGIC[: len(data)]):
                    self.odd.append(f"{len(data)} or more bytes after the gz stream are ignored")
                    return
                inflate = zlib.decompressobj(31)

    def _inflate(self, inflate: zlib._Decompress, data: bytes) -> Iterator[bytes]:
        try:
            while not inflate.eof:
                block = inflate.decompress(data, CHUNK_BYTES)
                data = inflate.unconsumed_tail
                if block:
                    yield block
                if not data and len(block) < CHUNK_BYTES:
                    return
        except zlib.error as error:
            raise InputError(
                f"{self.path}: damaged gz data near byte {self._file.tell() - len(data)} "
                f"({error}). Copy the file again from its source"
            ) from error

    def _read_first(self) -> bytes:
        first = b""
        for block in self._blocks:
            first += block
            if len(first) >= 6:
                break
        if not first:
            raise InputError(f"{self.path} is empty: it holds no record at all (byte 0)")
        return first

    def _check_far(self, first: bytes) -> str:
        """The byte order from the length of the FAR, which is always 2."""
        order = {b"\x02\x00": "little", b"\x00\x02": "big"}.get(first[:2])
        if order is None or first[2:4] != b"\x00\x0a"[: len(first[2:4])]:
            raise InputError(
                f"{self.path} is not an STDF file: byte 0 should start a FAR record "
                f"(02 00 00 0A or 00 02 00 0A), found {first[:4].hex(' ').upper()}"
            )
        if len(first) < 6:
            raise InputError(
                f"{self.path}: the file ends inside its FAR record (byte {len(first)})"
            )
        cpu_type, version = first[4], first[5]
        if version != 4:
            raise InputError(f"{self.path}: STDF version {version} at byte 5; only V4 can be read")
        if _CPU_ORDER.get(cpu_type) != order:
            self.odd.append(
                f"CPU_TYPE {cpu_type} does not fit the {order}-endian bytes; the bytes are followed"
            )
        return order
