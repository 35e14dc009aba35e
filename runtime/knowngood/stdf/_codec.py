"""Bytes of a record to its fields and back, by the layouts of ``_layout``."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from .._errors import UsageError
from ._layout import LAYOUTS, Field

_STRUCT_CODES = {
    "U1": "B",
    "U2": "H",
    "U4": "I",
    "I1": "b",
    "I2": "h",
    "I4": "i",
    "R4": "f",
    "B1": "B",
}
_MISSING: dict[str, Any] = {"R4": 0.0, "C1": " ", "Cn": "", "Bn": b""}

PREFIX = {"little": "<", "big": ">"}
"""The prefix of ``struct`` and NumPy for each byte order."""


@cache
def number(code: str, byte_order: str) -> struct.Struct:
    """The packer of one number, ``number("U2", "big")``."""
    return struct.Struct(PREFIX[byte_order] + _STRUCT_CODES[code])


def text(data: bytes) -> str:
    """UTF-8 where the bytes are that, Latin-1 otherwise: what testers write in practice."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def decode(
    layout: Sequence[Field],
    data: bytes,
    byte_order: str,
    counts: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The fields that ``data`` holds; those cut from the end are absent.

    Args:
        layout: the fields from the start of ``data``.
        data: the payload of a record, or its tail.
        byte_order: ``"little"`` or ``"big"``.
        counts: lengths of arrays whose count lies before ``data``.
    """
    fields: dict[str, Any] = dict(counts or {})
    position = 0
    for field in layout:
        if position >= len(data) and not (field.counted_by and fields.get(field.counted_by) == 0):
            break
        try:
            if field.counted_by:
                value, position = _array(
                    field, fields.get(field.counted_by, 0), data, position, byte_order
                )
            else:
                value, position = _scalar(field.code, data, position, byte_order)
        except struct.error:
            break
        fields[field.name] = value
    return fields


def _scalar(code: str, data: bytes, position: int, byte_order: str) -> tuple[Any, int]:
    if code in ("Cn", "Bn"):
        end = position + 1 + data[position]
        value = data[position + 1 : end]
        return (text(value) if code == "Cn" else value), end
    if code == "C1":
        return text(data[position : position + 1]), position + 1
    packer = number(code, byte_order)
    return packer.unpack_from(data, position)[0], position + packer.size


def _array(field: Field, n: int, data: bytes, position: int, byte_order: str) -> tuple[Any, int]:
    if field.code == "N1":
        nibbles = [
            n for byte in data[position : position + (n + 1) // 2] for n in (byte & 15, byte >> 4)
        ]
        return tuple(nibbles[:n]), position + (n + 1) // 2
    packer = struct.Struct(f"{PREFIX[byte_order]}{n}{_STRUCT_CODES[field.code]}")
    return packer.unpack_from(data, position), position + packer.size


def encode(name: str, values: Mapping[str, Any], byte_order: str) -> bytes:
    """The payload of a record: fields up to the last one given, omitted ones as *missing*.

    Raises:
        UsageError: an unknown field, or a value that its field cannot hold.
    """
    layout = LAYOUTS[name]
    unknown = values.keys() - {field.name for field in layout}
    if unknown:
        raise UsageError(f"{name} has no field {', '.join(sorted(unknown))}")
    given = [i for i, field in enumerate(layout) if field.name in values]
    return b"".join(
        _encode_field(name, field, values, byte_order)
        for field in layout[: max(given, default=-1) + 1]
    )


def _encode_field(name: str, field: Field, values: Mapping[str, Any], byte_order: str) -> bytes:
    value = values.get(field.name, () if field.counted_by else _MISSING.get(field.code, 0))
    try:
        if not field.counted_by:
            return encode_value(field.code, value, byte_order)
        if len(value) != values.get(field.counted_by, 0):
            raise ValueError(f"{field.counted_by} is {values.get(field.counted_by, 0)}")
        if field.code == "N1":
            return _pack_nibbles(value)
        return b"".join(encode_value(field.code, item, byte_order) for item in value)
    except (struct.error, ValueError, TypeError, OverflowError) as error:
        raise UsageError(
            f"{name}.{field.name} ({field.code}) cannot hold {value!r}: {error}"
        ) from error


def encode_value(code: str, value: Any, byte_order: str) -> bytes:
    """One value as its code asks; text and bytes carry their length in front."""
    if code in ("Cn", "Bn"):
        data: bytes = value.encode("utf-8") if code == "Cn" else value
        if len(data) > 255:
            raise ValueError(f"{len(data)} bytes, at most 255 fit")
        return bytes((len(data),)) + data
    if code == "C1":
        data = value.encode("latin-1")
        if len(data) != 1:
            raise ValueError("one character is expected")
        return data
    return number(code, byte_order).pack(value)


def _pack_nibbles(values: Iterable[int]) -> bytes:
    nibbles = [*values]
    nibbles += [0] * (len(nibbles) % 2)
    return bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))
