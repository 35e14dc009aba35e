"""Weights of an ONNX file that lie in files beside it: which of them are read, and how much."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx.external_data_helper import uses_external_data

from ._chain import MOST_BYTES, RefusedError

_KEYS = ("location", "offset", "length", "checksum", "basepath")


def load_external(model: onnx.ModelProto, path: Path) -> dict[str, bytes]:
    """Put weights from files beside ``path`` into the model's initializers.

    Files are read once, and only inside the model's own folder: a model names no other file of
    the machine. Tensors anywhere else in the graph hold their values themselves.

    Returns:
        The files read, by the name that the model gives them.

    Raises:
        RefusedError: a file that is missing, too short or too large, or is not to be read.
    """
    _refuse_in_attributes(model)
    contents: dict[str, bytes] = {}
    n_bytes = 0
    for tensor in filter(uses_external_data, model.graph.initializer):
        place = {entry.key: entry.value for entry in tensor.external_data if entry.key in _KEYS}
        name = place.get("location", "")
        if name not in contents:
            contents[name] = _read(path, name, MOST_BYTES - sum(map(len, contents.values())))
        values = _slice(contents[name], place, name)
        n_bytes += len(values)
        if n_bytes > MOST_BYTES:
            raise RefusedError("its weights in files beside it are larger than 2 GiB together")
        tensor.raw_data = values
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return contents


def digests(contents: dict[str, bytes]) -> dict[str, str]:
    """SHA-256 of each file, in hexadecimal."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}


def _refuse_in_attributes(model: onnx.ModelProto) -> None:
    nodes = (*model.graph.node, *(node for f in model.functions for node in f.node))
    for name, tensor in _tensors_of(nodes):
        if uses_external_data(tensor):
            raise RefusedError(
                f"{name} takes its values from another file; only initializers may. Export the "
                "model as one file"
            )


def _tensors_of(nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Tensors in attributes and in the graphs inside them, each with its node's name."""
    for node in nodes:
        name = f"{node.op_type} ({node.name!r})"
        for attribute in node.attribute:
            sparse = (attribute.sparse_tensor, *attribute.sparse_tensors)
            parts = (part for s in sparse for part in (s.values, s.indices))
            yield from ((name, t) for t in (attribute.t, *attribute.tensors, *parts))
            for graph in (attribute.g, *attribute.graphs):
                yield from ((name, t) for t in graph.initializer)
                yield from _tensors_of(graph.node)


def _read(path: Path, name: str, most: int) -> bytes:
    found = _beside(path, name)
    try:
        if found.is_file() and found.stat().st_size > most:
            raise RefusedError(f"its weights in {name} are larger than 2 GiB")
        return found.read_bytes()
    except OSError as error:
        raise RefusedError(
            f"its weights lie in {name}, which must lie beside it: {error.strerror or error}. "
            "Copy the file too, or export the model as one file"
        ) from error


def _beside(path: Path, name: str) -> Path:
    """Where a name that the model gives leads.

    Raises:
        RefusedError: out of the model's folder, by itself or by a link, or to no plain file.
    """
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    is_absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor
    folder = path.parent.resolve()
    try:
        found = (folder / name).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise RefusedError(f"its weights lie in {name!r}, which is no name of a file") from error
    if is_absolute or ".." in parts or not name or not found.is_relative_to(folder):
        raise RefusedError(
            f"its weights lie in {name!r}, outside its own folder: such files are not read. "
            "Export the model as one file"
        )
    if found.exists() and not found.is_file():
        raise RefusedError(f"its weights lie in {name!r}, which is no plain file")
    return found


def _slice(data: bytes, place: dict[str, str], name: str) -> bytes:
    try:
        start = int(place.get("offset") or 0)
        length = int(place["length"]) if place.get("length") else len(data) - start
    except ValueError as error:
        raise RefusedError(f"where its weights lie in {name} is damaged ({error})") from error
    if min(start, length) < 0 or start + length > len(data):
        raise RefusedError(
            f"its weights lie in {name}, which must be whole: it has {len(data):,} bytes, expected "
            f"{start + length:,}. Copy the file again"
        )
    return data[start : start + length]
