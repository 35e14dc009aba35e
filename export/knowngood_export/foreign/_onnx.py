"""ONNX: follows the graph from its one input to its one output.

Weights may pass through operators of their own first (dequantised, transposed, cast); those are
computed once. QuantizeLinear and DequantizeLinear between layers change values by rounding and are
left out, but for the relu that a quantiser may have put into them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from knowngood._network import Activation

from ._chain import Chain, RefusedError, require_few, require_known, require_spread, unsupported
from ._onnx_constants import FOLDED, Array, attributes, fold
from ._onnx_external import digests, load_external

_DOMAINS = ("", "ai.onnx", "com.microsoft")
_DAMAGE = (
    ValueError, TypeError, IndexError, KeyError, AttributeError, ArithmeticError, RuntimeError,
    MemoryError,
)  # fmt: skip
"""What onnx and NumPy raise on a graph whose bytes were changed."""


def read_onnx(path: Path, data: bytes) -> Chain:
    """The chain of steps in an ONNX file.

    Raises:
        RefusedError: see `read_network`.
    """
    model = _parse(data)
    beside = load_external(model, path)
    try:
        graph = _Graph(model, len(data) + sum(map(len, beside.values())))
        graph.chain.files_beside = digests(beside)
        return graph.follow()
    except _DAMAGE as error:
        if isinstance(error, RefusedError):
            raise
        raise RefusedError(f"it is damaged or not valid ONNX ({error}); export it again") from error


def _parse(data: bytes) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError, from a package without types
        raise RefusedError("it is damaged or no ONNX file; copy or export it again") from error
    if not model.graph.node or not model.graph.output:
        raise RefusedError("it is damaged or no ONNX file: there is no graph in it")
    require_few(len(model.graph.node))
    return model


class _Graph:
    """The graph, with what is known to be constant, and where the walk has come to."""

    def __init__(self, model: onnx.ModelProto, n_bytes: int) -> None:
        self.opsets = model.opset_import
        self.graph = model.graph
        self.constants: dict[str, Array] = {
            t.name: numpy_helper.to_array(t) for t in self.graph.initializer
        }
        given = self._only_input()
        self.current = given.name
        self.chain = Chain(_shape_of(given), n_bytes)

    def follow(self) -> Chain:
        """Walk to the output."""
        if self.graph.sparse_initializer:
            raise RefusedError("it has sparse weights; export it with dense ones")
        require_known(map(_name, self.graph.node), {*FOLDED, *_STEPS})
        for node in self.graph.node:
            if all(name in self.constants for name in node.input if name):
                if node.op_type not in FOLDED:
                    raise unsupported(f"{node.op_type} of constants", node.name)
                inputs = [self.constants[name] for name in node.input if name]
                self.chain.hold(_place(node), sum(array.size for array in inputs))
                self.constants[node.output[0]] = fold(node, inputs)
                self.chain.is_quantized |= node.op_type == "DequantizeLinear"
            else:
                self._step(node)
        outputs = [o.name for o in self.graph.output]
        if outputs != [self.current]:
            raise RefusedError(
                f"its outputs are {', '.join(outputs)}: expected one, the reconstruction, at the "
                "end of a plain chain of layers"
            )
        return self.chain

    def _only_input(self) -> onnx.ValueInfoProto:
        given: list[onnx.ValueInfoProto] = [
            i for i in self.graph.input if i.name not in self.constants
        ]
        if len(given) != 1:
            names = ", ".join(str(i.name) for i in given)
            raise RefusedError(f"it has {len(given)} inputs ({names}), expected one")
        return given[0]

    def _step(self, node: onnx.NodeProto) -> None:
        """Append what a node computes of the values so far."""
        if node.op_type not in _STEPS:  # Constant and the like, of what is computed
            raise unsupported(node.op_type, node.name)
        computed = [n for n in node.input if n and n not in self.constants]
        if computed != [self.current]:
            raise RefusedError(
                f"{_place(node)} takes {', '.join(computed)}, not what the step before it gives "
                "alone: branches, skips and several paths are not supported"
            )
        inputs = [None if name == self.current else self.constants.get(name) for name in node.input]
        _STEPS[node.op_type](self.chain, node, inputs)
        self.current = node.output[0]


def _shape_of(given: onnx.ValueInfoProto) -> list[int]:
    """Shape of one die in the input; 0 where it is not known."""
    kind = given.type.tensor_type
    if kind.elem_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
        name = onnx.TensorProto.DataType.Name(kind.elem_type)
        raise RefusedError(f"its input is {name}, expected float32")
    return [d.dim_value for d in kind.shape.dim[1:]]


def _name(node: onnx.NodeProto) -> str:
    """The operator's name, with the domain where it is not one of those known."""
    return str(node.op_type) if node.domain in _DOMAINS else f"{node.domain}.{node.op_type}"


def _place(node: onnx.NodeProto) -> str:
    return f"{node.op_type} ({node.name!r})" if node.name else node.op_type


Inputs = Sequence[Array | None]
"""Constants by position; None where the values so far come in, or nothing does."""
_Convert = Callable[[Chain, onnx.NodeProto, Inputs], None]


def _at(node: onnx.NodeProto, inputs: Inputs, position: int) -> Array:
    """A constant that the operator cannot do without."""
    found = inputs[position] if position < len(inputs) else None
    if found is None:
        raise RefusedError(f"{_place(node)}: input {position} is not a constant")
    return found


def _optional(inputs: Inputs, position: int) -> Array | None:
    return inputs[position] if position < len(inputs) else None


def _gemm(chain: Chain, node: onnx.NodeProto, inputs: Inputs) -> None:
    options = attributes(node)
    if options.get("transA", 0):
        raise unsupported("Gemm with transA", node.name)
    weight, bias = _at(node, inputs, 1), _optional(inputs, 2)
    weight = weight if options.get("transB", 0) else weight.T
    bias = None if bias is None else options.get("beta", 1.0) * bias.astype(np.float64).ravel()
    chain.dense(_place(node), options.get("alpha", 1.0) * weight.astype(np.float64), bias)


def _matmul(chain: Chain, node: onnx.NodeProto, inputs: Inputs) -> None:
    chain.dense(_place(node), _at(node, inputs, 1).T, None)


def _qlinear_matmul(chain: Chain, node: onnx.NodeProto, inputs: Inputs) -> None:
    weight, scale, zero = (_at(node, inputs, i).astype(np.float64) for i in (3, 4, 5))
    require_spread(_place(node), weight, scale, zero)
    chain.dense(_place(node), ((weight - zero) * scale).T, None)
    _round(chain, _at(node, inputs, 7))


def _qgemm(chain: Chain, node: onnx.NodeProto, inputs: Inputs) -> None:
    """ONNX Runtime's, with scale and zero point after each: A, B, C in int32 without, and Y."""
    chain.is_quantized = True
    options = attributes(node)
    if options.get("transA", 0):
        raise unsupported("QGemm with transA", node.name)
    size, weight, scale, zero = (_at(node, inputs, i).astype(np.float64) for i in (1, 3, 4, 5))
    weight = weight.T if options.get("transB", 0) else weight  # (n_in, n_out)
    require_spread(_place(node), weight, scale, zero)
    weight, alpha, bias = (weight - zero) * scale, options.get("alpha", 1.0), _optional(inputs, 6)
    if bias is not None:
        bias = bias.astype(np.float64).ravel()
        require_spread(_place(node), bias, size, scale)
        bias = bias * size * scale * alpha
    chain.dense(_place(node), alpha * weight.T, bias)
    if len(inputs) > 8:
        _round(chain, _at(node, inputs, 8))


def _add(chain: Chain, node: onnx.NodeProto, inputs: Inputs) -> None:
    constant = _at(node, inputs, 1 if inputs[0] is None else 0)
    chain.scale(_place(node), 1.0, constant)


def _sub(chain: Chain, node: onnx.NodeProto, inputs: Inputs) -> None:
    if inputs[0] is None:
        chain.scale(_place(node), 1.0, -_at(node, inputs, 1).astype(np.float64))
    else:
        chain.scale(_place(node), -1.0, _at(node, inputs, 0))


def _mul(chain: Chain, node: onnx.NodeProto, inputs: Inputs) -> None:
    chain.scale(_place(node), _at(node, inputs, 1 if inputs[0] is None else 0), 0.0)


def _div(chain: Chain, node: onnx.NodeProto, inputs: Inputs) -> None:
    divisor = _at(node, inputs, 1).astype(np.float64)
    if not divisor.all():
        raise RefusedError(f"{_place(node)} divides by 0")
    chain.scale(_place(node), 1 / divisor, 0.0)


def _batch_normalization(chain: Chain, node: onnx.NodeProto, inputs: Inputs) -> None:
    options = attributes(node)
    if options.get("training_mode", 0):
        raise unsupported("BatchNormalization in training mode", node.name)
    if len(chain.shape) != 1:
        raise unsupported("BatchNormalization of more than one axis", node.name)
    gain, shift, mean, variance = (_at(node, inputs, i) for i in (1, 2, 3, 4))
    epsilon = options.get("epsilon", 1e-5)
    chain.normalise(_place(node), mean, variance, epsilon, gain, shift)


def _nothing(chain: Chain, node: onnx.NodeProto, inputs: Inputs) -> None:
    """An operator that leaves values as they are."""


def _quantize_linear(chain: Chain, node: onnx.NodeProto, inputs: Inputs) -> None:
    _round(chain, _optional(inputs, 2))


def _round(chain: Chain, zero_point: Array | None) -> None:
    """The rounding of a QuantizeLinear, a zero point of 0 in uint8 unless given."""
    zero = np.zeros(1, np.uint8) if zero_point is None else zero_point
    chain.rounded(int(zero.ravel()[0]), zero.dtype)


def _dequantize_linear(chain: Chain, node: onnx.NodeProto, inputs: Inputs) -> None:
    chain.is_quantized = True


def _dropout(chain: Chain, node: onnx.NodeProto, inputs: Inputs) -> None:
    training = _optional(inputs, 2)
    if training is not None and bool(training.any()):
        raise unsupported("Dropout in training mode", node.name)


def _cast(chain: Chain, node: onnx.NodeProto, inputs: Inputs) -> None:
    to = attributes(node).get("to")
    if to not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
        raise unsupported(f"Cast to {onnx.TensorProto.DataType.Name(to)}", node.name)


def _flatten(chain: Chain, node: onnx.NodeProto, inputs: Inputs) -> None:
    axis = attributes(node).get("axis", 1)
    if axis % (len(chain.shape) + 1) != 1:
        raise unsupported(f"Flatten from axis {axis}", node.name)
    chain.reshape(_place(node), [int(np.prod(chain.shape))])


def _reshape(chain: Chain, node: onnx.NodeProto, inputs: Inputs) -> None:
    """The first axis is that of the dies, whichever way it is written."""
    of_dies, *wanted = (int(n) for n in _at(node, inputs, 1))
    shape = [chain.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    if shape.count(-1) == 1 and of_dies != -1:
        known = int(np.prod([n for n in shape if n != -1]))
        shape[shape.index(-1)] = int(np.prod(chain.shape)) // max(known, 1)
    chain.reshape(_place(node), shape)


def _activation(kind: Any, alpha: float = 0.0) -> _Convert:
    def convert(chain: Chain, node: onnx.NodeProto, inputs: Inputs) -> None:
        chain.activate(Activation(kind, attributes(node).get("alpha", alpha)))

    return convert


_STEPS: dict[str, _Convert] = {
    "Add": _add,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "DequantizeLinear": _dequantize_linear,
    "Div": _div,
    "Dropout": _dropout,
    "Elu": _activation("elu", 1.0),
    "Flatten": _flatten,
    "Gemm": _gemm,
    "Identity": _nothing,
    "LeakyRelu": _activation("leaky_relu", 0.01),
    "MatMul": _matmul,
    "Mul": _mul,
    "QGemm": _qgemm,
    "QLinearMatMul": _qlinear_matmul,
    "QuantizeLinear": _quantize_linear,
    "Relu": _activation("relu"),
    "Reshape": _reshape,
    "Sigmoid": _activation("sigmoid"),
    "Sub": _sub,
    "Tanh": _activation("tanh"),
}
