"""Writes a network as ONNX: opset 17, IR 8, only ``ai.onnx``, so that old runtimes load it.

int8 layers are written as QDQ with uint8 activations and int8 weights per output channel, which
ONNX Runtime turns into its QGemm kernels, with float32 results. Each die's row is divided by its
own largest magnitude first, unless the layer has a static range.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from knowngood._manifest import Manifest
from knowngood._network import (
    Activation,
    Dense,
    Network,
    QuantizedDense,
    QuantizedNetwork,
    StaticRange,
)
from knowngood._seal import UNSEALED, seal

from ._bias_range import within_bias_range
from ._score_graph import write_score_graph

OPSET = 17
IR_VERSION = 8
SMALLEST_RANGE = np.float32(2.0**-100)
"""What a row of zeros is divided by."""
_OPERATOR = {
    "relu": "Relu",
    "leaky_relu": "LeakyRelu",
    "elu": "Elu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
}


def network_to_onnx(network: Network | QuantizedNetwork, manifest: Manifest) -> bytes:
    """The bytes of a sealed ``.onnx`` file; the same network and manifest give the same bytes.

    Inputs and outputs: ``values`` float32 ``(n, n_tests)`` in raw units with NaN where a test is
    missing, ``group_row`` int32 ``(n,)`` if the scaler has groups; ``score`` float32 ``(n,)``,
    NaN for a die without a score, ``reconstruction`` float32 ``(n, n_tests)`` standardised, and
    ``latent`` if the network has a latent layer.

    Raises:
        UsageError: weights that are not finite, or overflow.
    """
    graph = _OnnxGraph(network.network if isinstance(network, QuantizedNetwork) else network)
    write_score_graph(graph, network)
    model = helper.make_model(
        graph.finish(),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="knowngood",
        producer_version=version("knowngood"),
    )
    for key, text in (("knowngood.manifest", manifest.to_json()), ("knowngood.sha256", UNSEALED)):
        model.metadata_props.add(key=key, value=text)
    return seal(model.SerializeToString(deterministic=True))


class _OnnxGraph:
    """Collects nodes and initializers; implements `GraphBuilder`."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._n_groups = len(network.screen.scaler.groups)
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._missing = self.node("IsNaN", "values")
        self._present = self.node("Cast", self.node("Not", self._missing), to=TensorProto.FLOAT)
        self._each_test = self.constant("each_test", np.array([1], dtype=np.int64))

    def constant(self, name: str, array: NDArray[Any] | np.generic) -> str:
        self._initializers[name] = numpy_helper.from_array(np.asarray(array), name)
        return name

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def per_test(self, name: str, rows: NDArray[np.float32]) -> str:
        if len(rows) == 1:
            return self.constant(name, rows[0])
        return self.node("Gather", self.constant(name, rows), "group_row", axis=0)

    def add(self, a: str, b: str) -> str:
        return self.node("Add", a, b)

    def sub(self, a: str, b: str) -> str:
        return self.node("Sub", a, b)

    def mul(self, a: str, b: str) -> str:
        return self.node("Mul", a, b)

    def div(self, a: str, b: str) -> str:
        return self.node("Div", a, b)

    def absolute(self, a: str) -> str:
        return self.node("Abs", a)

    def zero_if_missing(self, a: str) -> str:
        zero = self.constant("zero", np.float32(0))
        return self.node("Where", self._missing, zero, a)

    def present_only(self, a: str) -> str:
        return self.node("Mul", a, self._present)

    def linear(self, name: str, a: str, weight: NDArray[np.float32]) -> str:
        return self.node("Gemm", a, self.constant(name, weight), transB=1)

    def sum_of_tests(self, a: str) -> str:
        return self.node("ReduceSum", a, self._each_test, keepdims=0)

    def largest_test(self, a: str) -> str:
        return self.node("ReduceMax", a, axes=[1], keepdims=0)

    def sum_of_largest(self, a: str, k: int) -> str:
        count = self.constant("k", np.array([k], dtype=np.int64))
        top = helper.make_node("TopK", [a, count], ["largest", "largest_at"], "largest", axis=1)
        self._nodes.append(top)
        return self.sum_of_tests("largest")

    def by_present(self, name: str, table: NDArray[np.float32]) -> str:
        return self.node("Gather", self.constant(name, table), self._n_present, axis=0)

    @cached_property
    def _n_present(self) -> str:
        return self.node("Cast", self.sum_of_tests(self._present), to=TensorProto.INT32)

    def nan_above(self, score: str, magnitude: str, limit: float, output: str = "") -> str:
        nan = self.constant("nan", np.float32(np.nan))
        bound = self.constant(f"limit_{limit:.0e}", np.float32(limit))
        within = self.node("LessOrEqual", magnitude, bound)
        return self.node("Where", within, score, nan, output=output)

    def zeros_like(self, a: str, output: str) -> str:
        return self.node("ConstantOfShape", self.node("Shape", a), output=output)

    def dense(self, index: int, a: str, layer: Dense, output: str) -> str:
        """A float32 layer: Gemm and its activation, which ONNX Runtime fuses."""
        weight = self.constant(f"weight_{index}", layer.weight)
        bias = self.constant(f"bias_{index}", layer.bias)
        return self._gemm([a, weight, bias], layer.activation, output)

    def quantized_dense(self, index: int, a: str, layer: QuantizedDense, output: str) -> str:
        if layer.static_input is not None:
            return self._static_dense(index, a, layer, layer.static_input, output)
        return self._per_die_dense(index, a, layer, output)

    def _static_dense(
        self, index: int, a: str, layer: QuantizedDense, static: StaticRange, output: str
    ) -> str:
        """An int8 layer on the float tensor ``a``, quantised at its static input scale."""
        weight, weight_scale = within_bias_range(layer, static.scale)
        bias_scale = (np.float32(static.scale) * weight_scale).astype(np.float32)
        bias = np.rint(layer.bias.astype(np.float64) / bias_scale).astype(np.int32)
        inputs = [
            self._through_uint8(index, a, static.scale, static.zero_point + 128),
            self._dequantized(f"weight_{index}", weight, weight_scale),
            self._dequantized(f"bias_{index}", bias, bias_scale),
        ]
        return self._gemm(inputs, layer.activation, output)

    def _per_die_dense(self, index: int, a: str, layer: QuantizedDense, output: str) -> str:
        """An int8 layer on the float tensor ``a``, each die's row in units of its own largest."""
        largest = self._largest_of_die(index, a)
        scale, zero_point = (1 / 255, 0) if self._is_positive(index) else (1 / 127, 128)
        inputs = [
            self._through_uint8(index, self.node("Div", a, largest), scale, zero_point),
            self._dequantized(f"weight_{index}", layer.weight, layer.weight_scale),
        ]
        scaled = self.node("Mul", self.node("Gemm", *inputs, transB=1), largest)
        bias = self.constant(f"bias_{index}", layer.bias)
        if layer.activation.kind == "linear":
            return self.node("Add", scaled, bias, output=output)
        return self._activation(self.node("Add", scaled, bias), layer.activation, output)

    def _through_uint8(self, index: int, a: str, scale: float, zero_point: int) -> str:
        """``a`` rounded to uint8 steps: QuantizeLinear and back."""
        step = self.constant(f"input_scale_{index}", np.float32(scale))
        zero = self.constant(f"input_zero_point_{index}", np.uint8(zero_point))
        return self.node("DequantizeLinear", self.node("QuantizeLinear", a, step, zero), step, zero)

    def _largest_of_die(self, index: int, a: str) -> str:
        """The largest magnitude in each row of ``a``, shape ``(n, 1)``; never 0."""
        magnitude = a if self._is_positive(index) else self.node("Abs", a)
        largest = self.node("ReduceMax", magnitude, axes=[1], keepdims=1)
        return self.node("Max", largest, self.constant("smallest_range", SMALLEST_RANGE))

    def _is_positive(self, index: int) -> bool:
        """Whether the input of layer ``index`` has no negative elements."""
        return index > 0 and self.network.layers[index - 1].activation.is_positive

    def _dequantized(self, name: str, array: NDArray[Any], scale: NDArray[np.float32]) -> str:
        data = self.constant(name, array)
        factor = self.constant(f"{name}_scale", scale)
        zero = self.constant(f"{name}_zero_point", np.zeros(len(scale), dtype=array.dtype))
        return self.node("DequantizeLinear", data, factor, zero, axis=0)

    def _gemm(self, inputs: Sequence[str], activation: Activation, output: str) -> str:
        if activation.kind == "linear":
            return self.node("Gemm", *inputs, output=output, transB=1)
        return self._activation(self.node("Gemm", *inputs, transB=1), activation, output)

    def _activation(self, total: str, activation: Activation, output: str) -> str:
        takes_alpha = activation.kind in ("leaky_relu", "elu")
        attributes = {"alpha": float(activation.alpha)} if takes_alpha else {}
        return self.node(_OPERATOR[activation.kind], total, output=output, **attributes)

    def finish(self) -> onnx.GraphProto:
        n_tests = self.network.screen.schema.n_tests
        inputs = [_tensor("values", TensorProto.FLOAT, n_tests)]
        if self._n_groups > 1:
            inputs.append(_tensor("group_row", TensorProto.INT32))
        outputs = [_tensor("score", TensorProto.FLOAT)]
        outputs.append(_tensor("reconstruction", TensorProto.FLOAT, n_tests))
        if self.network.latent_layer is not None:
            width = self.network.widths[self.network.latent_layer + 1]
            outputs.append(_tensor("latent", TensorProto.FLOAT, width))
        initializers = list(self._initializers.values())
        return helper.make_graph(self._nodes, "knowngood", inputs, outputs, initializers)


def _tensor(name: str, element_type: int, *widths: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type, ["n", *widths])
