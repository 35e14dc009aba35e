"""Puts a ``.tflite`` file together: tensors, operators, buffers, signature and metadata.

Built on the flatbuffers schema that comes with ai-edge-litert. Operator versions are the caller's,
so that a file claims no newer runtime than it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

FILE_IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
BUFFER_ALIGNMENT = 16
DYNAMIC = -1
"""The number of dies in a shape: any."""

_TENSOR_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int64": schema.TensorType.INT64,
    "int32": schema.TensorType.INT32,
    "int16": schema.TensorType.INT16,
    "int8": schema.TensorType.INT8,
    "bool": schema.TensorType.BOOL,
}
_LAST_OLD_CODE = 127
"""Operator codes up to this one are also written into the field that old runtimes read."""


@dataclass(frozen=True)
class Quantization:
    """How an integer tensor stands for real numbers: ``(q − zero_point) · scale``.

    Attributes:
        scale: float32, one entry, or one per output channel (axis 0).
        zero_point: of every channel.
    """

    scale: NDArray[np.float32]
    zero_point: int = 0


class _Buffer:
    """A buffer aligned as the format asks for; the generated class leaves it unaligned."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def Pack(self, builder: Any) -> Any:  # noqa: N802 (called by the generated code)
        vector = None
        if self.data:
            builder.StartVector(1, len(self.data), BUFFER_ALIGNMENT)
            builder.head -= len(self.data)
            builder.Bytes[builder.head : builder.head + len(self.data)] = self.data
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


class TfliteFile:
    """One graph under construction; tensors are known by name."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._buffers = [_Buffer(b"")]  # buffer 0 means "no data"
        self._tensors: list[Any] = []
        self._index: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._codes: dict[tuple[int, int], int] = {}
        self._operators: list[Any] = []
        self._metadata: list[Any] = []

    def tensor(
        self,
        name: str,
        dtype: str,
        shape: Sequence[int],
        quantization: Quantization | None = None,
    ) -> str:
        """Declare an input or a result; ``DYNAMIC`` stands for the number of dies."""
        return self._add(name, dtype, tuple(shape), 0, quantization)

    def constant(
        self, name: str, array: NDArray[Any], quantization: Quantization | None = None
    ) -> str:
        """Declare a tensor that holds ``array``; declaring it again changes nothing."""
        if name in self._index:
            return name
        little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
        self._buffers.append(_Buffer(little.tobytes()))
        buffer = len(self._buffers) - 1
        return self._add(name, array.dtype.name, array.shape, buffer, quantization)

    def _add(
        self,
        name: str,
        dtype: str,
        shape: tuple[int, ...],
        buffer: int,
        quantization: Quantization | None,
    ) -> str:
        dense = [1 if n == DYNAMIC else n for n in shape]
        tensor = schema.TensorT(
            shape=np.array(dense, dtype=np.int32),
            type=_TENSOR_TYPES[dtype],
            buffer=buffer,
            name=name,
            quantization=_quantization(quantization),
            shapeSignature=np.array(shape, dtype=np.int32) if DYNAMIC in shape else None,
        )
        self._shapes[name] = shape
        self._index[name] = len(self._tensors)
        self._tensors.append(tensor)
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape that ``name`` was declared with."""
        return self._shapes[name]

    def operator(
        self,
        name: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        version: int = 1,
        options: Any = None,
    ) -> None:
        """Add a builtin operator, ``"FULLY_CONNECTED"``, with its options object, if it has one."""
        code = (getattr(schema.BuiltinOperator, name), version)
        kind = schema.BuiltinOptions.NONE
        if options is not None:
            kind = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._operators.append(
            schema.OperatorT(
                opcodeIndex=self._codes.setdefault(code, len(self._codes)),
                inputs=self._indices(inputs),
                outputs=self._indices(outputs),
                builtinOptionsType=kind,
                builtinOptions=options,
            )
        )

    def metadata(self, name: str, text: str) -> None:
        """Add an entry to the model's metadata, UTF-8 text."""
        self._buffers.append(_Buffer(text.encode()))
        self._metadata.append(schema.MetadataT(name=name, buffer=len(self._buffers) - 1))

    def finish(self, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
        """The bytes of the file."""
        graph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=self._indices(inputs),
            outputs=self._indices(outputs),
            operators=self._operators,
            name="knowngood",
        )
        signature = schema.SignatureDefT(
            inputs=self._tensor_map(inputs),
            outputs=self._tensor_map(outputs),
            signatureKey="serving_default",
        )
        model = schema.ModelT(
            version=SCHEMA_VERSION,
            operatorCodes=[_operator_code(*code) for code in self._codes],
            subgraphs=[graph],
            description=self._description,
            buffers=self._buffers,
            metadata=self._metadata,
            signatureDefs=[signature],
        )
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _indices(self, names: Sequence[str]) -> NDArray[np.int32]:
        return np.array([self._index[n] for n in names], dtype=np.int32)

    def _tensor_map(self, names: Sequence[str]) -> list[Any]:
        return [schema.TensorMapT(name=n, tensorIndex=self._index[n]) for n in names]


def _operator_code(code: int, version: int) -> Any:
    return schema.OperatorCodeT(
        deprecatedBuiltinCode=min(code, _LAST_OLD_CODE), builtinCode=code, version=version
    )


def _quantization(quantization: Quantization | None) -> Any:
    if quantization is None:
        return None
    n_channels = len(quantization.scale)
    return schema.QuantizationParametersT(
        scale=quantization.scale.astype(np.float32),
        zeroPoint=np.full(n_channels, quantization.zero_point, dtype=np.int64),
        quantizedDimension=0,
    )
