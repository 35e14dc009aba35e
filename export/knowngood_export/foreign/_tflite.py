"""TFLite: follows the operators of the main graph, by the schema that comes with ai-edge-litert.

Integer weights and biases are dequantised; rounding between layers is left out.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from knowngood._network import Activation

from ._chain import (
    Chain,
    RefusedError,
    require_few,
    require_known,
    require_same_width,
    require_spread,
    unsupported,
)

Array = NDArray[Any]
_DAMAGE = (
    struct.error, IndexError, TypeError, ValueError, AttributeError, KeyError, OverflowError,
    MemoryError,
)  # fmt: skip
"""What flatbuffers and NumPy raise on a file whose bytes were changed."""
_DTYPES = {
    schema.TensorType.FLOAT32: "<f4",
    schema.TensorType.FLOAT16: "<f2",
    schema.TensorType.FLOAT64: "<f8",
    schema.TensorType.INT8: "i1",
    schema.TensorType.UINT8: "u1",
    schema.TensorType.INT16: "<i2",
    schema.TensorType.INT32: "<i4",
    schema.TensorType.INT64: "<i8",
}
_VALUE_TYPES = (schema.TensorType.FLOAT32, schema.TensorType.INT8, schema.TensorType.UINT8,
                schema.TensorType.INT16)  # fmt: skip
_FUSED = {
    schema.ActivationFunctionType.NONE: Activation(),
    schema.ActivationFunctionType.RELU: Activation("relu"),
    schema.ActivationFunctionType.TANH: Activation("tanh"),
}


def _names(kind: type) -> dict[int, str]:
    return {value: name for name, value in vars(kind).items() if isinstance(value, int)}


_OPERATORS = _names(schema.BuiltinOperator)
_TYPES = _names(schema.TensorType)
_FUSED_NAMES = _names(schema.ActivationFunctionType)


def read_tflite(path: Path, data: bytes) -> Chain:
    """The chain of steps in a TFLite file.

    Raises:
        RefusedError: see `read_network`.
    """
    try:
        return _Graph(_parse(data), len(data)).follow()
    except _DAMAGE as error:
        if isinstance(error, RefusedError):
            raise
        raise RefusedError(f"it is damaged ({error!r}); copy or convert it again") from error


def _parse(data: bytes) -> Any:
    if len(data) < 8 or not schema.Model.ModelBufferHasIdentifier(data, 0):
        raise RefusedError("it is damaged or no TFLite file: the mark TFL3 is missing")
    packed = schema.Model.GetRootAs(data, 0)
    _require_small(packed)
    _require_own_names(packed, len(data))
    model = schema.ModelT.InitFromObj(packed)
    if not model.subgraphs:
        raise RefusedError("it is damaged: there is no graph in it")
    return model


def _require_small(model: Any) -> None:
    """Count tables before they are unpacked: in a crafted file many may be one and the same."""
    n_tables = model.SubgraphsLength() + model.BuffersLength() + model.OperatorCodesLength()
    n_tables += model.MetadataLength() + model.SignatureDefsLength()
    require_few(n_tables)
    for i in range(model.SubgraphsLength()):
        graph = model.Subgraphs(i)
        n_tables += graph.TensorsLength() + graph.OperatorsLength()
        require_few(n_tables)
        n_tables += sum(map(_n_dimensions, map(graph.Tensors, range(graph.TensorsLength()))))
    for i in range(model.SignatureDefsLength()):
        signature = model.SignatureDefs(i)
        n_tables += signature.InputsLength() + signature.OutputsLength()
    require_few(n_tables)


def _require_own_names(model: Any, n_bytes: int) -> None:
    """Refuse names that are longer together than the file: one shared by all its tensors."""
    room = n_bytes
    graphs = map(model.Subgraphs, range(model.SubgraphsLength()))
    tensors = (graph.Tensors(i) for graph in graphs for i in range(graph.TensorsLength()))
    codes = map(model.OperatorCodes, range(model.OperatorCodesLength()))
    names = itertools.chain((t.Name() for t in tensors), (code.CustomCode() for code in codes))
    for name in names:
        room -= len(name or b"")
        if room < 0:
            raise RefusedError("the names of its tensors are longer than the file")


def _n_dimensions(tensor: Any) -> int:
    """Tables that describe how a tensor is sparse; mostly none."""
    sparsity = tensor.Sparsity()
    return 0 if sparsity is None else int(sparsity.DimMetadataLength())


class _Graph:
    """The main graph, with what is known to be constant, and where the walk has come to."""

    def __init__(self, model: Any, n_bytes: int) -> None:
        self.model, self.graph = model, model.subgraphs[0]
        self.tensors = self.graph.tensors
        self.constants: dict[int, Array] = {}
        self.current = _only(self.graph.inputs, "inputs")
        self.output = _only(self.graph.outputs, "outputs")
        tensor = self.tensors[self.current]
        if tensor.type not in _VALUE_TYPES:
            raise RefusedError(f"its input is {_TYPES.get(tensor.type)}, expected numbers")
        self.chain = Chain(self.shape_of(self.current), n_bytes)
        self._note_rounding(self.current)

    def follow(self) -> Chain:
        """Walk to the output."""
        require_same_width(*(math.prod(self.shape_of(i)) for i in (self.current, self.output)))
        operators = self.graph.operators or []
        names = [self._name(operator) for operator in operators]
        require_known(names, _STEPS)
        for operator, name in zip(operators, names, strict=True):
            self._step(operator, name)
        if self.current != self.output:
            raise RefusedError("its output is not at the end of a plain chain of layers")
        return self.chain

    def shape_of(self, index: int) -> list[int]:
        """Shape of one die in a tensor; its first axis is that of the dies."""
        shape = self.tensors[index].shape
        return [] if shape is None else [int(n) for n in shape][1:]

    def _name(self, operator: Any) -> str:
        code = self.model.operatorCodes[operator.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        if number == schema.BuiltinOperator.CUSTOM:
            return (code.customCode or b"CUSTOM").decode(errors="replace")
        return _OPERATORS.get(number, f"number {number}")

    def _step(self, operator: Any, name: str) -> None:
        indices = [int(i) for i in operator.inputs if i >= 0]
        if name == "DEQUANTIZE" and self.constant(indices[0]) is not None:
            self.constants[int(operator.outputs[0])] = self.known(name, indices[0])
            return
        computed = [i for i in indices if self.constant(i) is None]
        if computed != [self.current]:
            raise RefusedError(
                f"{name} does not take what the step before it gives alone: branches, skips and "
                "several paths are not supported"
            )
        _STEPS[name](self, operator, name)
        self.current = _only(operator.outputs, f"results of {name}")
        self._note_rounding(self.current)

    def _note_rounding(self, index: int) -> None:
        tensor = self.tensors[index]
        if tensor.type == schema.TensorType.FLOAT32:
            return
        zero = None if tensor.quantization is None else tensor.quantization.zeroPoint
        if zero is None or not len(zero):
            raise RefusedError(f"it computes in {_TYPES.get(tensor.type)} without a scale")
        self.chain.rounded(int(zero[0]), np.dtype(_DTYPES[tensor.type]))

    def known(self, name: str, index: int) -> Array:
        """A constant as real numbers.

        Raises:
            RefusedError: it is none.
        """
        found = self.constant(index)
        if found is None:
            raise RefusedError(f"{name} has weights that are not constant")
        return found

    def constant(self, index: int) -> Array | None:
        """A tensor's values as real numbers; None if they are computed."""
        if index in self.constants:
            return self.constants[index]
        tensor = self.tensors[index]
        data = self.model.buffers[tensor.buffer].data
        if data is None or len(data) == 0:
            return None
        self.chain.hold(f"the constant {index}", len(data))
        self.constants[index] = _real(tensor, np.asarray(data, dtype=np.uint8).tobytes())
        return self.constants[index]


def _only(indices: Any, what: str) -> int:
    found = [] if indices is None else [int(i) for i in indices]
    if len(found) != 1 or found[0] < 0:
        raise RefusedError(f"it has {len(found)} {what}, expected one")
    return found[0]


def _real(tensor: Any, data: bytes) -> Array:
    """The numbers that a constant tensor stands for."""
    if tensor.type not in _DTYPES or tensor.sparsity is not None:
        kind = "sparse" if tensor.sparsity is not None else _TYPES.get(tensor.type, tensor.type)
        raise RefusedError(f"it has a constant of type {kind}, which is not supported")
    shape = () if tensor.shape is None else tuple(int(n) for n in tensor.shape)
    values = np.frombuffer(data, dtype=_DTYPES[tensor.type]).reshape(shape)
    steps = tensor.quantization
    if values.dtype.kind == "f" or steps is None or steps.scale is None or not len(steps.scale):
        return values
    axes = [1] * values.ndim
    if len(steps.scale) > 1:
        axes[steps.quantizedDimension] = len(steps.scale)
    zero = np.zeros(1) if steps.zeroPoint is None else np.asarray(steps.zeroPoint, np.float64)
    zero = np.broadcast_to(zero, (len(steps.scale),)).reshape(axes)
    scale = np.asarray(steps.scale, dtype=np.float64).reshape(axes)
    require_spread("a quantised constant", values, scale)
    return (values.astype(np.float64) - zero) * scale


def _fused(chain: Chain, name: str, options: Any) -> None:
    """The activation that an operator carries with it."""
    number = 0 if options is None else options.fusedActivationFunction
    if number not in _FUSED:
        raise unsupported(f"{name} with {_FUSED_NAMES.get(number, number)}")
    chain.activate(_FUSED[number])


_Convert = Callable[[_Graph, Any, str], None]


def _fully_connected(graph: _Graph, operator: Any, name: str) -> None:
    options, chain = operator.builtinOptions, graph.chain
    if options is not None and options.weightsFormat:
        raise unsupported(f"{name} with shuffled weights")
    weights = int(operator.inputs[1])
    weight = graph.known(name, weights)
    bias_index = int(operator.inputs[2]) if len(operator.inputs) > 2 else -1
    bias = None if bias_index < 0 else graph.known(name, bias_index)
    if graph.tensors[weights].type in (schema.TensorType.INT8, schema.TensorType.UINT8):
        chain.is_quantized = True
    if options is None or not options.keepNumDims:
        chain.reshape(name, [int(np.prod(chain.shape))])
    chain.dense(name, weight, bias)
    _fused(chain, name, options)


def _arithmetic(graph: _Graph, operator: Any, name: str) -> None:
    """ADD, SUB, MUL or DIV with a constant on one side."""
    left, right = (graph.constant(int(i)) for i in operator.inputs)
    constant = right if left is None else left
    if constant is None:
        raise unsupported(f"{name} of computed values")
    exact = constant.astype(np.float64)
    if name == "DIV" and (left is not None or not exact.all()):
        raise unsupported("DIV by computed values or 0")
    factor, offset = {
        "ADD": (1.0, exact),
        "SUB": (1.0, -exact) if left is None else (-1.0, exact),
        "MUL": (exact, 0.0),
        "DIV": (1 / np.where(exact == 0, 1, exact), 0.0),
    }[name]
    graph.chain.scale(name, factor, offset)
    _fused(graph.chain, name, operator.builtinOptions)


def _reshaped(graph: _Graph, operator: Any, name: str) -> None:
    graph.chain.reshape(name, graph.shape_of(int(operator.outputs[0])))


def _leaky_relu(graph: _Graph, operator: Any, name: str) -> None:
    graph.chain.activate(Activation("leaky_relu", float(operator.builtinOptions.alpha)))


def _nothing(graph: _Graph, operator: Any, name: str) -> None:
    """An operator that changes values by rounding at most."""


def _activation(kind: Any, alpha: float = 0.0) -> _Convert:
    return lambda graph, _operator, _name: graph.chain.activate(Activation(kind, alpha))


_STEPS: dict[str, _Convert] = {
    "ADD": _arithmetic,
    "DEQUANTIZE": _nothing,
    "DIV": _arithmetic,
    "ELU": _activation("elu", 1.0),
    "EXPAND_DIMS": _reshaped,
    "FULLY_CONNECTED": _fully_connected,
    "LEAKY_RELU": _leaky_relu,
    "LOGISTIC": _activation("sigmoid"),
    "MUL": _arithmetic,
    "QUANTIZE": _nothing,
    "RELU": _activation("relu"),
    "RESHAPE": _reshaped,
    "SQUEEZE": _reshaped,
    "SUB": _arithmetic,
    "TANH": _activation("tanh"),
}
