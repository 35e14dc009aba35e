"""A ``.kgd`` taken apart with ``struct``, following docs/format.md and nothing else.

``ByHand(data)["program.fp32.op1.opcode"]`` reads a field, assigning writes it, and ``build``
lays the sections out again with both digests right: what a forger without the key would do.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER = "<8sHHIQQ32s32s"
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "i1"}
Place = tuple[str, int, str]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 64)


def read_sections(data: bytes) -> dict[str, bytes]:
    n_sections = struct.unpack_from("<I", data, 12)[0]
    table = [struct.unpack_from("<16sQQ", data, 96 + 32 * i) for i in range(n_sections)]
    return {tag.rstrip(b"\0").decode(): data[at : at + size] for tag, at, size in table}


def build(sections: dict[str, bytes], **header: int) -> bytes:
    """The file around sections in any order and of any name."""
    table, body = b"", b""
    start = len(padded(bytes(96 + 32 * len(sections))))
    for name, section in sections.items():
        table += struct.pack("<16sQQ", name.encode(), start + len(body), len(section))
        body += padded(section)
    size = start + len(body) + 128
    fields = {"major": 1, "minor": 0, "n": len(sections), "size": size, "zero": 0} | header
    head = struct.pack(HEADER, b"\x89KGD\r\n\x1a\n", *fields.values(), bytes(32), bytes(32))
    return resealed(padded(head + table) + body + bytes(128))


def resealed(data: bytes) -> bytes:
    """The same bytes with the digests that fit them."""
    changed = bytearray(data)
    model_id = hashlib.sha256()
    for name, section in list(read_sections(data).items())[:4]:
        model_id.update(name.encode().ljust(16, b"\0") + struct.pack("<Q", len(section)) + section)
    changed[64:96] = model_id.digest()
    return with_file_digest(bytes(changed))


def with_file_digest(data: bytes) -> bytes:
    digest = hashlib.sha256(data[:32] + data[64:-128]).digest()
    return data[:32] + digest + data[64:]


class ByHand:
    """Every field by a name of its own."""

    def __init__(self, data: bytes) -> None:
        self.sections = {name: bytearray(s) for name, s in read_sections(data).items()}
        self.places: dict[str, Place] = {}
        self._section, self._at = "", 0
        self.tensors: list[tuple[str, int, tuple[int, ...]]] = []
        self.precisions: list[str] = []
        for name in ("schema", "tensors", "program", "points", "golden"):
            self._section, self._at = name, 0
            getattr(self, f"_walk_{name}")()
            assert self._at == len(self.sections[name]), f"{name} goes on after {self._at}"

    def __getitem__(self, name: str) -> Any:
        section, at, layout = self.places[name]
        value = struct.unpack_from(layout, self.sections[section], at)[0]
        is_text = layout.endswith("s") and not name.endswith(".digest")
        return value.decode() if is_text else value

    def __setitem__(self, name: str, value: Any) -> None:
        section, at, layout = self.places[name]
        struct.pack_into(layout, self.sections[section], at, value)

    def tensor(self, index: int) -> NDArray[Any]:
        """The tensor's data; writing to it changes the file."""
        dtype, at, shape = self.tensors[index]
        count = int(np.prod(shape))
        return np.frombuffer(self.sections["tensors"], dtype, count, at).reshape(shape)

    def operand(self, operation: str, index: int) -> NDArray[Any]:
        """A tensor of an operation: ``operand("program.fp32.op1", 0)``."""
        return self.tensor(self[f"{operation}.t{index}"])

    def build(self) -> bytes:
        return build({name: bytes(section) for name, section in self.sections.items()})

    def _field(self, name: str, layout: str) -> Any:
        self.places[name] = (self._section, self._at, "<" + layout)
        self._at += struct.calcsize("<" + layout)
        return self[name]

    def _string(self, name: str) -> None:
        self._field(name, f"{self._field(f'{name}.size', 'I')}s")

    def _walk_schema(self) -> None:
        self._field("schema.n_tests", "I")
        for name in ("part_type", "temperature", "flow", "program", "revision"):
            self._string(f"schema.{name}")
        for i in range(self["schema.n_tests"]):
            self._field(f"schema.{i}.number", "q")
            for name in ("name", "pin", "units"):
                self._string(f"schema.{i}.{name}")
            for name, layout in (("flags", "B"), ("low", "d"), ("high", "d")):
                self._field(f"schema.{i}.{name}", layout)

    def _walk_tensors(self) -> None:
        n_tensors = self._field("tensors.n", "I")
        self._field("tensors.zero", "I")
        for i in range(n_tensors):
            dtype = DTYPES[self._field(f"tensors.{i}.dtype", "I")]
            ndim = self._field(f"tensors.{i}.ndim", "I")
            dims = [self._field(f"tensors.{i}.dim{j}", "I") for j in range(4)]
            at = self._field(f"tensors.{i}.offset", "Q")
            self.tensors.append((dtype, at, tuple(dims[:ndim])))
        dtype, at, shape = self.tensors[-1]
        self._at = at + int(np.prod(shape)) * np.dtype(dtype).itemsize

    def _walk_program(self) -> None:
        self._field("program.detector", "I")
        for i in range(self._field("program.n", "I")):
            self._walk_one_program(i)

    def _walk_one_program(self, i: int) -> None:
        precision = ("fp32", "int8")[self._field(f"program.{i}.precision", "I")]
        self.precisions.append(precision)
        prefix = f"program.{precision}"
        for j in range(self._field(f"{prefix}.n_buffers", "I")):
            self._field(f"{prefix}.width{j}", "I")
        self._field(f"{prefix}.latent", "i")
        self._field(f"{prefix}.reconstruction", "i")
        for j in range(self._field(f"{prefix}.n_ops", "I")):
            operation = f"{prefix}.op{j}"
            self._field(f"{operation}.opcode", "I")
            self._list(operation, "in")
            self._field(f"{operation}.out", "I")
            self._list(operation, "t")
            self._list(operation, "p")

    def _list(self, operation: str, kind: str) -> None:
        for j in range(self._field(f"{operation}.n_{kind}", "I")):
            self._field(f"{operation}.{kind}{j}", "I")

    def _walk_points(self) -> None:
        self._field("points.default", "d")
        n_points, n_programs, n_limits = (
            self._field(f"points.n_{name}", "I") for name in ("points", "programs", "limits")
        )
        for i in range(n_limits):
            self._field(f"points.limit{i}", "f")
        for i in range(n_points):
            self._field(f"points.{i}.fpr", "d")
            for precision in self.precisions[:n_programs]:
                prefix = f"points.{i}.{precision}"
                for name, layout in zip(("threshold", "low", "high", "dies"), "fddI", strict=True):
                    self._field(f"{prefix}.{name}", layout)
                self._field(f"{prefix}.supported", "I")
            for name in ("lo", "hi") if n_limits else ():
                self._field(f"points.{i}.{name}", "f")

    def _walk_golden(self) -> None:
        n_dies, n_programs = (self._field(f"golden.n_{n}", "I") for n in ("dies", "programs"))
        for die in range(n_dies):
            for test in range(self["schema.n_tests"]):
                self._field(f"golden.{die}.value{test}", "f")
        for die in range(n_dies):
            self._field(f"golden.{die}.group", "i")
        for precision in self.precisions[:n_programs]:
            for die in range(n_dies):
                self._field(f"golden.{die}.{precision}", "I")
            self._field(f"golden.{precision}.digest", "32s")
