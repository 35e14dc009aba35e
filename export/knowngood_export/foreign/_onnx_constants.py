"""Constants of an ONNX graph that pass through operators of their own on the way to a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ._chain import require_spread, unsupported

Array = NDArray[Any]
Attributes = dict[str, Any]


def attributes(node: onnx.NodeProto) -> Attributes:
    """A node's attributes as Python values."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def fold(node: onnx.NodeProto, inputs: Sequence[Array]) -> Array:
    """What a node of ``FOLDED`` makes of constants.

    Raises:
        RefusedError: a Constant that holds no numbers, or what would make them many more.
    """
    return FOLDED[node.op_type](attributes(node), inputs, node)


def _constant(options: Attributes, _inputs: Sequence[Array], node: onnx.NodeProto) -> Array:
    if "value" in options:
        return numpy_helper.to_array(options["value"])
    numbers = [v for name, v in options.items() if name.startswith(("value_float", "value_int"))]
    if not numbers:
        raise unsupported("Constant without numbers", node.name)
    return np.asarray(numbers[0])


def _identity(_options: Attributes, inputs: Sequence[Array], _node: onnx.NodeProto) -> Array:
    return inputs[0]


def _cast(options: Attributes, inputs: Sequence[Array], node: onnx.NodeProto) -> Array:
    dtype = helper.tensor_dtype_to_np_dtype(options["to"])
    if dtype.kind not in "biuf":
        raise unsupported(f"Cast to {dtype}", node.name)
    return inputs[0].astype(dtype)


def _transpose(options: Attributes, inputs: Sequence[Array], _node: onnx.NodeProto) -> Array:
    return np.transpose(inputs[0], options.get("perm"))


def _reshape(_options: Attributes, inputs: Sequence[Array], _node: onnx.NodeProto) -> Array:
    values, wanted = inputs
    shape = [values.shape[i] if n == 0 else int(n) for i, n in enumerate(wanted)]
    return values.reshape(shape)


def _axes(options: Attributes, inputs: Sequence[Array]) -> tuple[int, ...] | None:
    """Before opset 13 an attribute, since then an input."""
    axes = inputs[1] if len(inputs) > 1 else options.get("axes")
    return None if axes is None else tuple(int(a) for a in axes)


def _squeeze(options: Attributes, inputs: Sequence[Array], _node: onnx.NodeProto) -> Array:
    return np.squeeze(inputs[0], _axes(options, inputs))


def _unsqueeze(options: Attributes, inputs: Sequence[Array], _node: onnx.NodeProto) -> Array:
    return np.expand_dims(inputs[0], _axes(options, inputs) or ())


def _dequantize(options: Attributes, inputs: Sequence[Array], node: onnx.NodeProto) -> Array:
    steps, scale = (a.astype(np.float64) for a in inputs[:2])
    zero = inputs[2].astype(np.float64) if len(inputs) > 2 else np.zeros_like(scale)
    if scale.size > 1:
        shape = [1] * steps.ndim
        shape[options.get("axis", 1)] = scale.size
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    require_spread(f"DequantizeLinear ({node.name!r})", steps, scale, zero)
    real: Array = (steps - zero) * scale
    return real


_Fold = Callable[[Attributes, Sequence[Array], onnx.NodeProto], Array]
FOLDED: dict[str, _Fold] = {
    "Cast": _cast,
    "Constant": _constant,
    "DequantizeLinear": _dequantize,
    "Identity": _identity,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""Operators computed once where all their inputs are constants."""
