"""A file, and the same with its header, section table, padding or trailer broken."""

from __future__ import annotations

import struct

from kgd_by_hand import build, read_sections, with_file_digest

from knowngood._kgd import encode
from sealed_models import HISTORY, tiny_sealed

DATA = encode(tiny_sealed(**HISTORY, certificate='{"flips":{"good":0}}'))
SECTIONS = read_sections(DATA)


def patched(at: int, layout: str, value: object) -> bytes:
    data = bytearray(DATA)
    struct.pack_into(layout, data, at, value)
    return with_file_digest(bytes(data))


def table_entry(index: int, field: int, layout: str, value: object) -> bytes:
    """Digests are right for the bytes, though the table is wrong."""
    data = bytearray(DATA)
    struct.pack_into(layout, data, 96 + 32 * index + field, value)
    return with_file_digest(bytes(data))


def a_block_more() -> bytes:
    """64 zero bytes before the trailer, and a header that counts them."""
    longer = DATA[:16] + struct.pack("<Q", len(DATA) + 64) + DATA[24:]
    return with_file_digest(longer[:-128] + bytes(64) + longer[-128:])


def reordered(*names: str) -> bytes:
    return build({name: SECTIONS.get(name, b"{}") for name in names})


def byte_at(data: bytes, place: int) -> bytes:
    return with_file_digest(data[:place] + b"\x01" + data[place + 1 :])


ORDER = tuple(SECTIONS)
END_OF_SCHEMA = 320 + len(SECTIONS["schema"])
SHELLS = [
    (1, "2.0", patched(8, "<H", 2)),
    (1, "1.1", patched(10, "<H", 1)),
    (1, "magic", b"\x88" + DATA[1:]),
    (2, "truncated", DATA[:-64]),
    (2, "longer", DATA + bytes(64)),
    (3, "damaged", None),
    (4, "reserved", patched(24, "<Q", 1)),
    (4, "number of sections", patched(12, "<I", 5)),
    (4, "number of sections", patched(12, "<I", 8)),
    (4, "number of sections", patched(12, "<I", 2**32 - 1)),
    (4, "number of sections", reordered(*ORDER, "notes")),
    (4, "number of sections", reordered("schema", "program", "tensors", "points", "golden")),
    (4, "entry 1: tag", reordered(ORDER[0], ORDER[2], ORDER[1], *ORDER[3:])),
    (4, "entry 6: tag", reordered(*ORDER[:6], "signature")),
    (4, "entry 0 .schema.: offset", table_entry(0, 16, "<Q", 384)),
    (4, "entry 2 .tensors.: offset", table_entry(2, 16, "<Q", 320)),
    (4, "entry 0 .schema.: size", table_entry(0, 24, "<Q", 0)),
    (4, "entry 0 .schema.: size", table_entry(0, 24, "<Q", 2**64 - 1)),
    (4, "entry 6 .certificate.: size", table_entry(6, 24, "<Q", len(DATA))),
    (4, "section table: end", a_block_more()),
    (4, "tag", table_entry(0, 0, "<16s", b"schema\0x")),
    (4, "padding before program", byte_at(DATA, END_OF_SCHEMA)),
    (4, "padding before the trailer", byte_at(DATA, len(DATA) - 129)),
    (4, "entry 6 .certificate.: size", build({**SECTIONS, "certificate": b""})),
    (6, "model_id", with_file_digest(DATA[:64] + bytes(32) + DATA[96:])),
    (7, "trailer", DATA[:-1] + b"\x01"),
    (7, "trailer", DATA[:-128] + b"\x01" + DATA[-127:]),
]
