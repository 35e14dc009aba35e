"""The network as TFLite, as lean as it can be: what LiteRT's XNNPACK kernels run fastest.

The same two forms as `_lean_onnx`. int8 layers are integers from end to end, per channel, their
ranges those of held-out good dies; a float tensor is made int8 before the first of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from knowngood._network import Dense, Network, QuantizedDense, StaticRange
from knowngood_export._integer_layer import IntegerLayer
from knowngood_export._tflite_file import DYNAMIC, Quantization, TfliteFile
from knowngood_quantize.static_ranges import RangedNetwork

from ._lean_onnx import complete_gain

INT8_VERSION = 4
"""Of FULLY_CONNECTED: the first with int8 input and output."""
PER_CHANNEL_QUANTIZE_VERSION = 1


def lean_tflite(network: Network | RangedNetwork, *, is_bare: bool) -> bytes:
    """The file's bytes."""
    graph = _Graph(len(network.screen.head.residual_weight))
    source = graph.tensor("standardised" if is_bare else "values", graph.n_tests)
    u = source if is_bare else graph.standardised(network, source)
    if isinstance(network, RangedNetwork):
        y = graph.int8_layers(network, u)
    else:
        y = graph.fp32_layers(network.layers, u)
    output = y if is_bare else graph.score(network, u, y)
    return graph.file.finish([source], [output])


class _Graph:
    """Operators so far; rows are dies."""

    def __init__(self, n_tests: int) -> None:
        self.file = TfliteFile("lean")
        self.n_tests = n_tests
        self._n_names = 0

    def tensor(self, name: str, width: int = 0) -> str:
        return self.file.tensor(name, "float32", (DYNAMIC, width) if width else (DYNAMIC,))

    def _name(self, operator: str) -> str:
        self._n_names += 1
        return f"{operator.lower()}_{self._n_names}"

    def _constant(self, array: NDArray[Any], form: Quantization | None = None) -> str:
        return self.file.constant(self._name("constant"), array, form)

    def _add(self, operator: str, inputs: Sequence[str], width: int, options: Any = None) -> str:
        output = self.tensor(self._name(operator), width)
        self.file.operator(operator, inputs, [output], options=options)
        return output

    def _sub(self, a: str, b: str) -> str:
        return self._add("SUB", [a, b], self.n_tests, schema.SubOptionsT(potScaleInt16=False))

    def _mul(self, a: str, b: str, width: int) -> str:
        return self._add("MUL", [a, b], width, schema.MulOptionsT())

    def standardised(self, network: Network | RangedNetwork, values: str) -> str:
        scaler = network.screen.scaler
        high = scaler.centre[0].astype(np.float32)
        low = (scaler.centre[0] - high).astype(np.float32)
        offset = self._sub(values, self._constant(high[np.newaxis]))
        if low.any():
            offset = self._sub(offset, self._constant(low[np.newaxis]))
        factor = scaler.inv_scale.astype(np.float32)
        return self._mul(offset, self._constant(factor), self.n_tests)

    def fp32_layers(self, layers: Sequence[Dense], x: str) -> str:
        for layer in layers:
            inputs = [x, self._constant(layer.weight), self._constant(layer.bias)]
            x = self._add("FULLY_CONNECTED", inputs, len(layer.bias), _fused(layer))
        return x

    def int8_layers(self, network: RangedNetwork, x: str) -> str:
        form = network.ranges[0].to_int8()
        q = self._int8(network.network.widths[0], form)
        self.file.operator("QUANTIZE", [x], [q], options=schema.QuantizeOptionsT())
        for layer, sums in zip(network.layers, network.ranges[1:], strict=True):
            into = sums.through(layer.activation).to_int8()
            q = self._int8_layer(layer, q, form, into)
            form = into
        return self._add("DEQUANTIZE", [q], self.n_tests, schema.DequantizeOptionsT())

    def _int8(self, width: int, form: StaticRange) -> str:
        quantization = Quantization(np.array([form.scale], np.float32), form.zero_point)
        return self.file.tensor(self._name("int8"), "int8", (DYNAMIC, width), quantization)

    def _int8_layer(
        self, layer: QuantizedDense, q: str, form: StaticRange, into: StaticRange
    ) -> str:
        integers = IntegerLayer.of(layer, form.scale, into.scale)
        weight = self._constant(integers.weight, Quantization(integers.weight_scale))
        bias = self._constant(integers.bias.astype(np.int32), Quantization(integers.bias_scale))
        output = self._int8(len(layer.bias), into)
        self.file.operator(
            "FULLY_CONNECTED", [q, weight, bias], [output],
            version=INT8_VERSION, options=_fused(layer),
        )  # fmt: skip
        return output

    def score(self, network: Network | RangedNetwork, u: str, y: str) -> str:
        """Of a complete die, by its head."""
        head = network.screen.head
        weight = self._constant(head.residual_weight[np.newaxis])
        z = self._mul(self._sub(u, y), weight, self.n_tests)
        gain = self._constant(np.array([complete_gain(network)], np.float32))
        each_test = self._constant(np.array([1], np.int32))
        if head.kind == "topk":
            z = self._largest(self._add("ABS", [z], self.n_tests, schema.AbsOptionsT()), head.k)
        else:
            z = self._mul(z, z, self.n_tests)
        total = self._add("SUM", [z, each_test], 0, schema.ReducerOptionsT(keepDims=False))
        return self._mul(total, gain, 0)

    def _largest(self, magnitude: str, k: int) -> str:
        largest = self.tensor("largest", k)
        places = self.file.tensor("largest_at", "int32", (DYNAMIC, k))
        inputs = [magnitude, self._constant(np.array(k, np.int32))]
        self.file.operator("TOPK_V2", inputs, [largest, places], options=schema.TopKV2OptionsT())
        return largest


def _fused(layer: Dense | QuantizedDense) -> Any:
    functions = schema.ActivationFunctionType
    kinds = {"linear": functions.NONE, "relu": functions.RELU}
    if layer.activation.kind not in kinds:
        raise ValueError(f"a layer is {layer.activation.kind}: only relu is written")
    return schema.FullyConnectedOptionsT(kinds[layer.activation.kind])
