"""The network as ONNX, as lean as it can be: what ONNX Runtime and others run fastest.

Two forms. *bare*: standardised values in, reconstruction out. *lean*: raw values in, score out, of
complete dies only; a die with a missing test gets NaN, and its host scores it by the bare form.
int8 is static QDQ, per channel, uint8 activations by int8 weights (what x86 multiplies at once).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from knowngood._network import Dense, Network, QuantizedDense, QuantizedNetwork

OPSET, IR_VERSION = 17, 8


def lean_onnx(network: Network | QuantizedNetwork, *, is_bare: bool) -> bytes:
    """The file's bytes; int8 layers have static input ranges."""
    graph = _Graph()
    n_tests = len(network.screen.head.residual_weight)
    u = "standardised" if is_bare else graph.standardised(network, "values")
    y = u
    layers: Sequence[Dense | QuantizedDense] = network.layers
    for index, layer in enumerate(layers):
        y = graph.layer(index, layer, y)
    output = "reconstruction" if is_bare else "score"
    if is_bare:
        graph.node("Identity", y, output=output)
    else:
        graph.score(network, u, y)
    rows: list[str | int] = ["n", n_tests]
    shape: list[str | int] = rows if is_bare else ["n"]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "lean",
            [_tensor("standardised" if is_bare else "values", rows)],
            [_tensor(output, shape)],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _tensor(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


class _Graph:
    """Nodes and constants so far; tensors are known by name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def constant(self, array: NDArray[Any] | np.generic) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def standardised(self, network: Network | QuantizedNetwork, values: str) -> str:
        """In float32, the centre taken off in two parts if one is not enough."""
        scaler = network.screen.scaler
        high = scaler.centre[0].astype(np.float32)
        low = (scaler.centre[0] - high).astype(np.float32)
        offset = self.node("Sub", values, self.constant(high))
        if low.any():
            offset = self.node("Sub", offset, self.constant(low))
        return self.node("Mul", offset, self.constant(scaler.inv_scale[0].astype(np.float32)))

    def layer(self, index: int, layer: Dense | QuantizedDense, x: str) -> str:
        inputs = self._int8(layer, x) if isinstance(layer, QuantizedDense) else self._fp32(layer, x)
        y = self.node("Gemm", *inputs, transB=1)
        if layer.activation.kind == "linear":
            return y
        if layer.activation.kind != "relu":
            raise ValueError(f"layer {index} is {layer.activation.kind}: only relu is written")
        return self.node("Relu", y)

    def _fp32(self, layer: Dense, x: str) -> list[str]:
        return [x, self.constant(layer.weight), self.constant(layer.bias)]

    def _int8(self, layer: QuantizedDense, x: str) -> list[str]:
        static = layer.static_input
        if static is None:
            raise ValueError("an int8 layer has no static range")
        step, zero = np.float32(static.scale), np.uint8(static.zero_point + 128)
        scale = (step * layer.weight_scale).astype(np.float32)
        bias = np.rint(layer.bias.astype(np.float64) / scale).astype(np.int32)
        names = self.constant(step), self.constant(zero)
        return [
            self.node("DequantizeLinear", self.node("QuantizeLinear", x, *names), *names),
            self._dequantized(layer.weight, layer.weight_scale),
            self._dequantized(bias, scale),
        ]

    def _dequantized(self, array: NDArray[Any], scale: NDArray[np.float32]) -> str:
        zeros = np.zeros(len(scale), array.dtype)
        names = (self.constant(each) for each in (array, scale, zeros))
        return self.node("DequantizeLinear", *names, axis=0)

    def score(self, network: Network | QuantizedNetwork, u: str, y: str) -> str:
        """Of a complete die, by its head."""
        head = network.screen.head
        z = self.node("Mul", self.node("Sub", u, y), self.constant(head.residual_weight))
        each_test = self.constant(np.array([1], np.int64))
        if head.kind == "topk":
            count = self.constant(np.array([head.k], np.int64))
            largest = helper.make_node(
                "TopK", [self.node("Abs", z), count], ["top", "at"], axis=1, sorted=0
            )
            self.nodes.append(largest)
            total = self.node("ReduceSum", "top", each_test, keepdims=0)
        else:
            total = self.node("ReduceSumSquare", z, axes=[1], keepdims=0)
        gain = self.constant(np.float32(complete_gain(network)))
        return self.node("Mul", total, gain, output="score")


def complete_gain(network: Network | QuantizedNetwork) -> float:
    """What a complete die's sum is multiplied by."""
    head = network.screen.head
    if head.kind == "topk":
        return float(head.present_gain[-1])
    return 1 / len(head.residual_weight)
