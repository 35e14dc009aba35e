"""Reading a model file: bytes once, digest first, then only as much as holds the manifest.

A ``.kgd`` is read by `_kgd`. ONNX is a protobuf and TFLite a flatbuffer; both are walked here by
hand, with every offset checked, so that a manifest can be read with NumPy alone. Their graph is the
engine's business.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ._errors import ModelFileError, OperatingPointError
from ._kgd import MAGIC, MAX_FILE_BYTES, decode
from ._manifest import Manifest
from ._network import OperatingPoint
from ._seal import MARKER, check_seal
from ._sealed import SealedModel, as_one_of

ModelKind = Literal["onnx", "tflite", "kgd"]

MANIFEST_KEY = "knowngood.manifest"

_SUFFIX_KINDS: dict[str, ModelKind] = {".onnx": "onnx", ".tflite": "tflite", ".kgd": "kgd"}
_TFLITE_IDENTIFIER = b"TFL3"
_ONNX_METADATA_PROPS = 14
_ONNX_START = b"\x08"
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
_TFLITE_BUFFERS, _TFLITE_METADATA = 4, 6


@dataclass(frozen=True)
class ModelFile:
    """A model file whose digest was checked.

    Attributes:
        path: where it was read from, for messages and records.
        data: the whole file.
        kind: "onnx", "tflite" or "kgd", by content.
        format: the kind, for a ``.kgd`` with the version of its format: "kgd 1.0".
        digest: its sealed SHA-256 over the whole file, 64 hexadecimal digits.
        model_id: SHA-256 over what decides verdicts; the digest where a file has no other.
        manifest: what the file says of itself in the precision chosen.
        sealed: all that a ``.kgd`` holds, None for other kinds.
    """

    path: Path
    data: bytes
    kind: ModelKind
    format: str
    digest: str
    model_id: str
    manifest: Manifest
    sealed: SealedModel | None = None

    @property
    def precisions(self) -> tuple[str, ...]:
        """What the file can be scored in, the default first."""
        return (self.manifest.precision,) if self.sealed is None else self.sealed.precisions

    def operating_point(self, fpr: float | None, *, extrapolate: bool) -> OperatingPoint:
        """The operating point at ``fpr``, or at the file's default.

        Raises:
            OperatingPointError: not listed, or unsupported; the message lists those that are.
        """
        screen = self.manifest.screen
        wanted = screen.default_fpr if fpr is None else fpr
        try:
            return screen.operating_point(wanted, extrapolate=extrapolate)
        except OperatingPointError as error:
            supported = ", ".join(f"{p.fpr:g}" for p in screen.operating_points if p.supported)
            raise OperatingPointError(
                f"{self.path}: {error} Supported here (fpr=, --fpr): {supported or 'none'}."
            ) from error

    def in_precision(self, precision: str | None) -> ModelFile:
        """The same file with the manifest of ``precision``; None keeps the one it has.

        Raises:
            UsageError: the file does not offer it.
        """
        if precision is None:
            return self
        precision = as_one_of(precision, self.precisions, str(self.path))
        if self.sealed is None or precision == self.manifest.precision:
            return self
        return replace(self, manifest=self.sealed.manifest(precision))


def read_model(path: str | Path) -> ModelFile:
    """Read and verify a model file.

    Raises:
        ModelFileError: missing, unreadable, damaged, too large, or not exported by knowngood.
    """
    path = Path(path)
    return parse_model(_read_bytes(path), path)


def parse_model(data: bytes, path: str | Path) -> ModelFile:
    """Verify a model that is already in memory; ``path`` names it in messages.

    Raises:
        ModelFileError: damaged, not exported by knowngood, or named like another kind.
    """
    path = Path(path)
    if data.startswith(MAGIC[:4]) or (path.suffix.lower() == ".kgd" and data):
        return _parse_kgd(data, path)
    kind: ModelKind = "tflite" if _is_tflite(data) else "onnx"
    if kind != "tflite":
        _refuse_other_files(data, path)
    digest = check_seal(data, str(path))
    _refuse_misnamed(path, kind)
    read_metadata = tflite_metadata if kind == "tflite" else onnx_metadata
    try:
        manifest = _read_manifest(read_metadata(data))
    except (ModelFileError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise ModelFileError(f"{path}: {error}") from error
    return ModelFile(path, data, kind, kind, digest, digest, manifest)


def _parse_kgd(data: bytes, path: Path) -> ModelFile:
    if not data.startswith(MAGIC[:4]):
        _refuse_misnamed(path, _kind_without_magic(data))
        _refuse_other_files(data, path)
    _refuse_misnamed(path, "kgd")
    contents = decode(data, str(path))
    sealed = contents.model
    return ModelFile(
        path,
        data,
        "kgd",
        contents.format,
        contents.file_digest,
        contents.model_id,
        sealed.manifest(sealed.precisions[0]),
        sealed,
    )


def _kind_without_magic(data: bytes) -> ModelKind:
    """What a file named ``.kgd`` is by other marks; "kgd", and then damaged, if there are none."""
    if _is_tflite(data):
        return "tflite"
    return "onnx" if MARKER in data else "kgd"


def _is_tflite(data: bytes) -> bool:
    return data[4:8] == _TFLITE_IDENTIFIER


def holds_model(path: Path) -> bool:
    """Whether a file begins as a model does, whatever its name; False if it cannot be read.

    ONNX has no magic bytes: its files begin with the field of their version, as no lot does.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except OSError:  # whoever reads all of it says why
        return False
    return head.startswith((MAGIC[:4], _ONNX_START)) or _is_tflite(head)


def _read_bytes(path: Path) -> bytes:
    """The file at once, and one byte more than its size says if it grows meanwhile."""
    try:
        _refuse_endless(path)
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise ModelFileError(f"{path} is larger than {MAX_FILE_BYTES:,} bytes: no model")
            return stream.read(size + 1)
    except OSError as error:
        raise ModelFileError(f"cannot read the model {path}: {error.strerror or error}") from error


def _refuse_endless(path: Path) -> None:
    """A pipe may keep a tester waiting, a device such as /dev/zero never ends."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ModelFileError(f"{path} is a pipe or a device, not a file: name the model's own file")


_OTHER_FILES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the model: run 'git lfs pull'"),
    (b"PK\x03\x04", "is a zip archive (a model.pt of training is one): run 'knowngood export'"),
    (b"\x1f\x8b", "is gzip-compressed: unpack it first"),
    (b"\x89PNG", "is a PNG picture, not a model"),
    (b"<", "is HTML or XML, not a model: was a web page saved in its place?"),
    (b"\x02\x00\x00\x0a", "is an STDF lot, not a model: the model comes first"),
    (b"\x00\x02\x00\x0a", "is an STDF lot, not a model: the model comes first"),
)


def _refuse_other_files(data: bytes, path: Path) -> None:
    if not data:
        raise ModelFileError(f"{path} is empty: copy or export the model again")
    for start, text in _OTHER_FILES:
        if data.startswith(start):
            raise ModelFileError(f"{path} {text}")


def _refuse_misnamed(path: Path, kind: ModelKind) -> None:
    named = _SUFFIX_KINDS.get(path.suffix.lower())
    if named is not None and named != kind:
        raise ModelFileError(
            f"{path} is named like .{named} but holds a model of kind {kind}: rename it to .{kind}"
        )


def _read_manifest(metadata: dict[str, bytes]) -> Manifest:
    if MANIFEST_KEY not in metadata:
        raise ModelFileError(
            f"its metadata have no {MANIFEST_KEY!r} entry; export the model with knowngood export"
        )
    manifest = Manifest.from_json(metadata[MANIFEST_KEY].decode())
    for point in manifest.screen.operating_points:
        _check_operating_point(point)
    return manifest


def _check_operating_point(point: OperatingPoint) -> None:
    """A threshold that is no finite float32 would pass every die, or none."""
    is_sound = (
        isinstance(point.threshold, (int, float))
        and isinstance(point.fpr, (int, float))
        and abs(point.threshold) <= _LARGEST_FLOAT32
        and 0 < point.fpr < 1
    )
    if not is_sound:
        raise ModelFileError(
            f"the manifest's operating point {point.fpr!r} has the threshold "
            f"{point.threshold!r}: expected a yield loss between 0 and 1, a finite threshold"
        )


def onnx_metadata(data: bytes) -> dict[str, bytes]:
    """``ModelProto.metadata_props`` of an ONNX file, by key.

    Raises:
        ModelFileError: not a protobuf, truncated, or a key given twice.
    """
    metadata: dict[str, bytes] = {}
    for number, start, end in _protobuf_fields(data, 0, len(data)):
        if number == _ONNX_METADATA_PROPS:
            entry = {n: data[a:b] for n, a, b in _protobuf_fields(data, start, end)}
            _add_entry(metadata, entry.get(1, b"").decode(), entry.get(2, b""))
    return metadata


def _add_entry(metadata: dict[str, bytes], key: str, value: bytes) -> None:
    if key in metadata:
        raise ModelFileError(f"its metadata have {key!r} twice")
    metadata[key] = value


def _protobuf_fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(field number, start, end of the payload) of each field of the message in data[start:end]."""
    place = start
    while place < end:
        tag, place = _varint(data, place, end)
        wire = tag & 7
        if wire == 0:
            stop = _varint(data, place, end)[1]
        elif wire == 2:
            length, place = _varint(data, place, end)
            stop = place + length
        elif wire in (1, 5):
            stop = place + (8 if wire == 1 else 4)
        else:
            raise ModelFileError(f"it is no ONNX file: wire type {wire} at byte {place}")
        if stop > end:
            raise ModelFileError(f"it is truncated, or no ONNX file: a field ends at byte {stop}")
        yield tag >> 3, place, stop
        place = stop


def _varint(data: bytes, place: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            raise ModelFileError("it is truncated, or no ONNX file: it ends inside a number")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ModelFileError(f"it is no ONNX file: a number of more than ten bytes at byte {place}")


def tflite_metadata(data: bytes) -> dict[str, bytes]:
    """``Model.metadata`` of a TFLite file: the bytes of each entry's buffer, by name.

    Raises:
        ModelFileError: an offset points outside the file, or a name is given twice.
    """
    flat = _FlatBuffer(data)
    model = flat.unsigned(0)
    buffers = flat.vector(flat.field(model, _TFLITE_BUFFERS))
    metadata: dict[str, bytes] = {}
    for entry in flat.vector(flat.field(model, _TFLITE_METADATA)):
        name = flat.string(flat.field(entry, 0))
        place = flat.field(entry, 1)
        index = flat.unsigned(place) if place else 0
        if index >= len(buffers):
            raise ModelFileError(f"metadata {name!r} name buffer {index} of {len(buffers)}")
        _add_entry(metadata, name.decode(), flat.string(flat.field(buffers[index], 0)))
    return metadata


class _FlatBuffer:
    """Just enough of the flatbuffer encoding; each place is a byte offset, 0 an absent field."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def unsigned(self, place: int) -> int:
        return self._number("<I", place)

    def field(self, table: int, index: int) -> int:
        """Place of a table's field, 0 if it is absent."""
        vtable = table - self._number("<i", table)
        if self._number("<H", vtable) < 6 + 2 * index:
            return 0
        offset = self._number("<H", vtable + 4 + 2 * index)
        return table + offset if offset else 0

    def vector(self, field: int) -> list[int]:
        """Places of the tables in a vector of tables; empty for an absent field."""
        if not field:
            return []
        start, length = self._extent(field, 4)
        places = (start + 4 * i for i in range(length))
        return [place + self.unsigned(place) for place in places]

    def string(self, field: int) -> bytes:
        """A string or a vector of bytes; empty for an absent field."""
        if not field:
            return b""
        start, length = self._extent(field, 1)
        return self._data[start : start + length]

    def _extent(self, field: int, item_size: int) -> tuple[int, int]:
        vector = field + self.unsigned(field)
        length = self.unsigned(vector)
        if vector + 4 + length * item_size > len(self._data):
            raise ModelFileError(f"it is damaged: a vector at byte {vector} ends outside the file")
        return vector + 4, length

    def _number(self, layout: str, place: int) -> int:
        if place < 0 or place + struct.calcsize(layout) > len(self._data):
            raise ModelFileError(f"it is damaged: an offset points to byte {place}, outside it")
        value: int = struct.unpack_from(layout, self._data, place)[0]
        return value
