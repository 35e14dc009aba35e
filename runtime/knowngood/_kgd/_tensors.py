"""The section ``tensors``: numbered arrays, aligned for any vector load."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import UsageError

from ._layout import align
from ._reader import Reader, as_array
from ._refusal import Rule, refuse
from ._writer import Writer, little_endian

MAX_TENSORS = 2048
MAX_NDIM = 4
_ENTRY_BYTES = 32
_DTYPE_OF_CODE = {1: "<f4", 2: "<f8", 3: "<i4", 4: "|i1"}
_CODE_OF_DTYPE = {np.dtype(dtype).name: code for code, dtype in _DTYPE_OF_CODE.items()}


def encode_tensors(tensors: list[NDArray[Any]]) -> bytes:
    """The section's bytes."""
    table = Writer("tensors")
    table.u32("number of tensors", len(tensors))
    table.u32("reserved", 0)
    end = 8 + _ENTRY_BYTES * len(tensors)
    body, start_of_body = bytearray(), end
    for i, tensor in enumerate(tensors):
        start = align(end)
        data = _data_of(i, tensor)
        _write_entry(table, tensor, start)
        body += bytes(start - end) + data
        end = start + len(data)
    assert start_of_body + len(body) == end
    return table.getvalue() + bytes(body)


def _data_of(index: int, tensor: NDArray[Any]) -> bytes:
    code = _CODE_OF_DTYPE.get(tensor.dtype.name)
    if code is None or not 1 <= tensor.ndim <= MAX_NDIM:
        raise UsageError(
            f"tensor {index}: expected {', '.join(_CODE_OF_DTYPE)} of 1 to {MAX_NDIM} dimensions, "
            f"found {tensor.dtype.name} {tensor.shape}"
        )
    return little_endian(f"tensor {index}", tensor, _DTYPE_OF_CODE[code])


def _write_entry(table: Writer, tensor: NDArray[Any], start: int) -> None:
    table.u32("dtype", _CODE_OF_DTYPE[tensor.dtype.name])
    table.u32("ndim", tensor.ndim)
    table.u32s("dims", (*tensor.shape, *(0,) * (MAX_NDIM - tensor.ndim)))
    table.u64("offset", start)


def decode_tensors(section: memoryview) -> list[NDArray[Any]]:
    """Read-only arrays on the section's own bytes, each finite."""
    reader = Reader(section, "tensors")
    n_tensors = reader.count("number of tensors", 1, MAX_TENSORS, _ENTRY_BYTES)
    if reserved := reader.u32("reserved"):
        raise reader.refusal("reserved bytes", Rule.TENSORS, "zero", hex(reserved))
    tensors = []
    end = 8 + _ENTRY_BYTES * n_tensors
    for i in range(n_tensors):
        reader.where = f"tensors: tensor {i}"
        tensor, end = _read_tensor(reader, section, end)
        tensors.append(tensor)
    if end != len(section):
        raise refuse("tensors: its end", Rule.TENSORS, f"{end} bytes", len(section))
    return tensors


def _read_tensor(
    reader: Reader, section: memoryview, previous_end: int
) -> tuple[NDArray[Any], int]:
    code, ndim, *dims = reader.u32s("dtype, ndim and dims", 2 + MAX_NDIM)
    if code not in _DTYPE_OF_CODE:
        raise reader.refusal("dtype", Rule.CODES, "1 to 4", code)
    if not 1 <= ndim <= MAX_NDIM or min(dims[:ndim]) < 1 or any(dims[ndim:]):
        raise reader.refusal(
            "dims", Rule.TENSORS, "1 to 4 dimensions of 1 or more, then zeros", f"{ndim}: {dims}"
        )
    start, offset = align(previous_end), reader.u64("offset")
    if offset != start:
        raise reader.refusal("offset", Rule.TENSORS, start, offset)
    dtype = np.dtype(_DTYPE_OF_CODE[code])
    end = start + math.prod(dims[:ndim]) * dtype.itemsize
    if end > len(section):
        raise reader.refusal("data", Rule.COUNTS, f"an end by {len(section)}", end)
    if section[previous_end:start] != bytes(start - previous_end):
        raise reader.refusal("padding before it", Rule.TENSORS, "zero bytes", "others")
    tensor = as_array(section[start:end], dtype.str, tuple(dims[:ndim]))
    if tensor.dtype.kind == "f" and not _is_finite(tensor):
        raise reader.refusal("data", Rule.FINITE_AND_TEXT, "finite numbers", "others")
    return tensor, end


def _is_finite(tensor: NDArray[Any]) -> bool:
    """Whether every number is; the extremes say it without a temporary as large as the tensor."""
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(tensor.min()) and np.isfinite(tensor.max()))
