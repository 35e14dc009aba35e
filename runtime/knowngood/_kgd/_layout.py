"""The outer shell: header, section table, padding, trailer, and the two digests."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from knowngood._errors import ModelFileError, UsageError

from ._refusal import Rule, refuse

MAGIC = b"\x89KGD\r\n\x1a\n"
MAJOR, MINOR = 1, 0
MAX_FILE_BYTES = 1 << 30
DECIDING_SECTIONS = ("schema", "program", "tensors", "points")
"""What decides verdicts; ``model_id`` is taken over these."""
SECTIONS = (*DECIDING_SECTIONS, "golden", "manifest")
CERTIFICATE = "certificate"
ALIGNMENT = 64
HEADER_BYTES = 96
TRAILER_BYTES = 128
_HEADER = struct.Struct("<8sHHIQQ32s32s")
_ENTRY = struct.Struct("<16sQQ")
_DIGEST = slice(32, 64)
_MODEL_ID = slice(64, 96)


@dataclass(frozen=True)
class Shell:
    """A file whose digests fit.

    Attributes:
        version: of the format, "1.0".
        sections: their bytes by name, in the order of the file.
        model_id, file_digest: 64 hexadecimal digits each.
    """

    version: str
    sections: Mapping[str, memoryview]
    model_id: str
    file_digest: str


def align(place: int) -> int:
    """The next multiple of 64."""
    return -(-place // ALIGNMENT) * ALIGNMENT


def close_shell(sections: Mapping[str, bytes]) -> bytes:
    """The file around ``sections``, given in the order of the format.

    Raises:
        UsageError: the file would be larger than 1 GiB.
    """
    starts, end = _place_sections([len(data) for data in sections.values()])
    size = align(end) + TRAILER_BYTES
    if size > MAX_FILE_BYTES:
        raise UsageError(f"the model needs {size:,} bytes; a .kgd has at most {MAX_FILE_BYTES:,}")
    file = bytearray(size)
    model_id = _model_id({name: memoryview(data) for name, data in sections.items()})
    _HEADER.pack_into(file, 0, MAGIC, MAJOR, MINOR, len(sections), size, 0, bytes(32), model_id)
    for i, (name, data) in enumerate(sections.items()):
        _ENTRY.pack_into(file, HEADER_BYTES + i * _ENTRY.size, _tag(name), starts[i], len(data))
        file[starts[i] : starts[i] + len(data)] = data
    file[_DIGEST] = _file_digest(memoryview(file))
    return bytes(file)


def open_shell(data: bytes) -> Shell:
    """Verify the digest, then the layout, then ``model_id``.

    Raises:
        ModelFileError: one of them is not what the format demands.
    """
    view = memoryview(data).toreadonly()
    _check_header(data)
    found = _file_digest(view)
    if data[_DIGEST] != found:
        raise ModelFileError(
            f"the file is damaged: its digest says {data[_DIGEST].hex()[:12]}…, its bytes give "
            f"{found.hex()[:12]}… (rule {Rule.DIGEST.value} of the .kgd format). "
            "Copy or export the file again."
        )
    sections = _split(view)
    _check_padding(view, sections)
    model_id = _model_id(sections)
    if data[_MODEL_ID] != model_id:
        raise refuse(
            "header: model_id", Rule.MODEL_ID, model_id.hex(), bytes(data[_MODEL_ID]).hex()
        )
    version = "{}.{}".format(*_HEADER.unpack_from(data)[1:3])
    return Shell(version, sections, model_id.hex(), found.hex())


def _check_header(data: bytes) -> None:
    """What can be told before the digest: another kind of file, a newer version, a part of one."""
    if not data.startswith(MAGIC):
        is_rewritten = data.startswith(MAGIC[:4])
        found = "line ends rewritten in transfer" if is_rewritten else repr(bytes(data[:8]))
        raise refuse("header: magic", Rule.VERSION, repr(MAGIC), found)
    if len(data) < HEADER_BYTES + TRAILER_BYTES:
        raise refuse(
            "header: file size",
            Rule.SIZE,
            f"{HEADER_BYTES + TRAILER_BYTES} bytes or more",
            f"{len(data)}: a truncated copy",
        )
    _, major, minor, _, size, _, _, _ = _HEADER.unpack_from(data)
    if major != MAJOR or minor > MINOR:
        is_newer = (major, minor) > (MAJOR, MINOR)
        advice = "Update knowngood to read it." if is_newer else "Export the model again."
        expected, found = f"{MAJOR}.{MINOR}", f"{major}.{minor}"
        raise refuse("header: version", Rule.VERSION, expected, found, advice)
    if size != len(data):
        state = "truncated" if len(data) < size else "longer than it was written"
        raise refuse("header: file size", Rule.SIZE, f"{size} bytes", f"{len(data)}: it is {state}")
    if size > MAX_FILE_BYTES:
        raise refuse("header: file size", Rule.SIZE, f"at most {MAX_FILE_BYTES} bytes", size)


def _split(view: memoryview) -> dict[str, memoryview]:
    """The sections, each where the sizes before it force it to be."""
    _, _, _, n_sections, size, reserved, _, _ = _HEADER.unpack_from(view)
    if reserved:
        raise refuse("header: reserved bytes", Rule.SECTIONS, "zero", hex(reserved))
    names = (*SECTIONS, CERTIFICATE)[:n_sections]
    if n_sections not in (len(SECTIONS), len(SECTIONS) + 1):
        raise refuse(
            "header: number of sections", Rule.SECTIONS, "6, or 7 with a certificate", n_sections
        )
    sections: dict[str, memoryview] = {}
    end = HEADER_BYTES + n_sections * _ENTRY.size
    for i, name in enumerate(names):
        start = align(end)
        end = start + _check_entry(view, i, name, start)
        sections[name] = view[start:end]
    if align(end) + TRAILER_BYTES != size:
        raise refuse(
            "section table: end", Rule.SECTIONS, f"{size} bytes", align(end) + TRAILER_BYTES
        )
    return sections


def _check_entry(view: memoryview, index: int, name: str, start: int) -> int:
    """The size of a section whose entry in the table is in order."""
    tag, offset, n_bytes = _ENTRY.unpack_from(view, HEADER_BYTES + index * _ENTRY.size)
    where = f"section table: entry {index}"
    if tag != _tag(name):
        raise refuse(f"{where}: tag", Rule.SECTIONS, repr(_tag(name)), repr(tag))
    if offset != start:
        raise refuse(f"{where} ({name}): offset", Rule.SECTIONS, start, offset)
    room = len(view) - TRAILER_BYTES - start
    if not 1 <= n_bytes <= room:
        raise refuse(f"{where} ({name}): size", Rule.SECTIONS, f"1 to {room} bytes", n_bytes)
    return int(n_bytes)


def _check_padding(view: memoryview, sections: Mapping[str, memoryview]) -> None:
    end = HEADER_BYTES + len(sections) * _ENTRY.size
    for name, section in sections.items():
        start = align(end)
        if _holds_others(view[end:start]):
            raise refuse(f"padding before {name}", Rule.SECTIONS, "zero bytes", "others")
        end = start + len(section)
    if _holds_others(view[end:-TRAILER_BYTES]):
        raise refuse("padding before the trailer", Rule.SECTIONS, "zero bytes", "others")
    if _holds_others(view[-TRAILER_BYTES:]):
        raise refuse("trailer", Rule.TRAILER, "128 zero bytes", "others")


def _holds_others(padding: memoryview) -> bool:
    """Whether a byte is not zero."""
    return bytes(padding).count(0) != len(padding)


def _place_sections(sizes: list[int]) -> tuple[list[int], int]:
    starts, end = [], HEADER_BYTES + len(sizes) * _ENTRY.size
    for size in sizes:
        starts.append(align(end))
        end = starts[-1] + size
    return starts, end


def _tag(name: str) -> bytes:
    return name.encode("ascii").ljust(16, b"\0")


def _file_digest(view: memoryview) -> bytes:
    digest = hashlib.sha256(view[: _DIGEST.start])
    digest.update(view[_DIGEST.stop : -TRAILER_BYTES])
    return digest.digest()


def _model_id(sections: Mapping[str, memoryview]) -> bytes:
    digest = hashlib.sha256()
    for name in DECIDING_SECTIONS:
        digest.update(_tag(name) + struct.pack("<Q", len(sections[name])))
        digest.update(sections[name])
    return digest.digest()
