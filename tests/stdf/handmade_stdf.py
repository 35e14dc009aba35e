"""STDF V4 records put together from the specification, without any of the code under test."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from knowngood import stdf
from knowngood._lot import Lot


def cn(text: str) -> bytes:
    data = text.encode("latin-1")
    return bytes([len(data)]) + data


@dataclass(frozen=True)
class Hand:
    """Builds records in one byte order; ``order`` is that of ``struct``."""

    order: str = "<"

    def rec(self, typ: int, sub: int, payload: bytes = b"") -> bytes:
        return self.pack("HBB", len(payload), typ, sub) + payload

    def pack(self, codes: str, *values: object) -> bytes:
        return struct.pack(self.order + codes, *values)

    def far(self, cpu_type: int | None = None, version: int = 4) -> bytes:
        native = 2 if self.order == "<" else 1
        return self.rec(0, 10, bytes([native if cpu_type is None else cpu_type, version]))

    def mir(self, lot: str = "L1", *texts: str) -> bytes:
        """``texts`` follow LOT_ID: PART_TYP NODE_NAM TSTR_TYP JOB_NAM JOB_REV …"""
        head = self.pack("IIBcccHc", 0, 0, 1, b" ", b" ", b" ", 0, b" ")
        return self.rec(1, 10, head + cn(lot) + b"".join(cn(t) for t in texts))

    def wir(self, wafer: str, head: int = 1) -> bytes:
        return self.rec(2, 10, bytes([head, 255]) + self.pack("I", 0) + cn(wafer))

    def wrr(self, wafer: str = "", head: int = 1) -> bytes:
        return self.rec(2, 20, bytes([head, 255]) + self.pack("6I", 0, 1, 0, 0, 1, 0) + cn(wafer))

    def pir(self, site: int = 0, head: int = 1) -> bytes:
        return self.rec(5, 10, bytes([head, site]))

    def ptr(
        self,
        number: int,
        result: float,
        name: str | None = None,
        tail: bytes = b"",
        *,
        site: int = 0,
        head: int = 1,
        flag: int = 0,
        parameter_flag: int = 0,
    ) -> bytes:
        """``name`` None cuts the record after RESULT; ``tail`` follows the name."""
        fixed = self.pack("IBBBBf", number, head, site, flag, parameter_flag, result)
        return self.rec(15, 10, fixed + (b"" if name is None else cn(name) + tail))

    def described(self, low: float, high: float, units: str, flags: int = 0x0E) -> bytes:
        """The tail of a PTR after TEST_TXT: alarm, OPT_FLAG, scales, limits, units."""
        return cn("") + self.pack("Bbbbff", flags, 0, 0, 0, low, high) + cn(units)

    def mpr(
        self,
        number: int,
        results: list[float],
        name: str,
        indexes: list[int] | None = None,
        *,
        site: int = 0,
        flag: int = 0,
        parameter_flag: int = 0,
        units: str = "V",
    ) -> bytes:
        n = len(results)
        fixed = self.pack("IBBBBHH", number, 1, site, flag, parameter_flag, n, n)
        values = bytes((n + 1) // 2) + self.pack(f"{n}f", *results)
        tail = cn(name) + cn("")
        if indexes is not None:
            tail += self.pack("Bbbbffff", 0x0E, 0, 0, 0, -1.0, 1.0, 0.0, 0.0)
            tail += self.pack(f"{n}H", *indexes) + cn(units)
        return self.rec(15, 15, fixed + values + tail)

    def pmr(self, index: int, channel: str, physical: str, logical: str, site: int = 0) -> bytes:
        names = cn(channel) + cn(physical) + cn(logical)
        return self.rec(1, 60, self.pack("HH", index, 0) + names + bytes([1, site]))

    def prr(
        self,
        site: int = 0,
        head: int = 1,
        *,
        flag: int = 0,
        hard: int = 1,
        soft: int = 1,
        x: int = -32768,
        y: int = -32768,
        part_id: str = "",
    ) -> bytes:
        fixed = self.pack("BBBHHHhhI", head, site, flag, 1, hard, soft, x, y, 0)
        return self.rec(5, 20, fixed + cn(part_id) + cn("") + cn(""))

    def mrr(self) -> bytes:
        return self.rec(1, 20, self.pack("I", 0))

    def lot(self, *records: bytes) -> bytes:
        """A whole file around ``records``."""
        return b"".join((self.far(), self.mir(), *records, self.mrr()))


def read(folder: Path, data: bytes) -> Lot:
    """What our reader makes of ``data``."""
    path = folder / "hand.stdf"
    path.write_bytes(data)
    return stdf.read_stdf(path)


def cells(lot: Lot) -> list[dict[str, float]]:
    """Each die's present values by the label of their test."""
    return [
        {t.label: float(v) for t, v in zip(lot.schema.tests, row, strict=True) if v == v}
        for row in lot.values
    ]
