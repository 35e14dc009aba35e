"""The score graph in TFLite's operators, in versions that tflite-runtime 2.14 has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from knowngood._errors import UsageError
from knowngood._manifest import Manifest
from knowngood._network import Activation, Dense, Network, QuantizedDense
from knowngood._seal import UNSEALED, seal

from ._bias_range import within_bias_range
from ._tflite_file import DYNAMIC, Quantization, TfliteFile

_DIES = (DYNAMIC,)
FUSED = {
    "linear": schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
}
"""Activations that are part of the operator before them."""
_OPERATOR = {"sigmoid": "LOGISTIC", "tanh": "TANH"}
_ASYMMETRIC_INPUT_VERSION = 9
"""First FULLY_CONNECTED that knows ``asymmetricQuantizeInputs``. Per-channel scales would need
version 12, which old runtimes lack, and version 1 gives garbage there without a word: the weights
carry one scale of 1, and the channels' scales are multiplied on afterwards."""


class TfliteGraph:
    """Adds operators to a `TfliteFile`; implements `GraphBuilder`."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.file = TfliteFile(f"knowngood {version('knowngood')}")
        self._n_nodes = 0
        self._inputs = [self.file.tensor("values", "float32", (DYNAMIC, network.widths[0]))]
        if len(network.screen.scaler.groups) > 1:
            self._inputs.append(self.file.tensor("group_row", "int32", _DIES))
        self._each_test = self.file.constant("each_test", np.array([1], dtype=np.int32))
        self._is_present = self.node(  # NaN is the one value that does not equal itself
            "EQUAL", ["values", "values"], dtype="bool", options=schema.EqualOptionsT()
        )
        self._present = self._cast(self._is_present, "bool", "float32")

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        shape: Sequence[int] = (),
        *,
        dtype: str = "float32",
        output: str = "",
        version: int = 1,
        options: Any = None,
    ) -> str:
        """Add an operator with one output, shaped as its first input unless ``shape`` is given."""
        self._n_nodes += 1
        output = output or f"{operator.lower()}_{self._n_nodes}"
        self.file.tensor(output, dtype, shape or self.file.shape(inputs[0]))
        self.file.operator(operator, inputs, [output], version=version, options=options)
        return output

    def _cast(self, a: str, source: str, target: str) -> str:
        types = {
            "bool": schema.TensorType.BOOL,
            "float32": schema.TensorType.FLOAT32,
            "int32": schema.TensorType.INT32,
        }
        options = schema.CastOptionsT(types[source], types[target])
        return self.node("CAST", [a], dtype=target, options=options)

    def per_test(self, name: str, rows: NDArray[np.float32]) -> str:
        table = self.file.constant(name, rows)
        if len(rows) == 1:
            return table
        shape = (DYNAMIC, rows.shape[1])
        return self.node("GATHER", [table, "group_row"], shape, options=schema.GatherOptionsT())

    def add(self, a: str, b: str) -> str:
        return self.node("ADD", [a, b], options=schema.AddOptionsT())

    def sub(self, a: str, b: str) -> str:
        return self.node("SUB", [a, b], options=schema.SubOptionsT(potScaleInt16=False))

    def mul(self, a: str, b: str) -> str:
        return self.node("MUL", [a, b], options=schema.MulOptionsT())

    def div(self, a: str, b: str) -> str:
        return self.node("DIV", [a, b], options=schema.DivOptionsT())

    def absolute(self, a: str) -> str:
        return self.node("ABS", [a], options=schema.AbsOptionsT())

    def zero_if_missing(self, a: str) -> str:
        zero = self.file.constant("zero", np.zeros(1, dtype=np.float32))
        inputs = [self._is_present, a, zero]
        return self.node("SELECT_V2", inputs, options=schema.SelectV2OptionsT())

    def present_only(self, a: str) -> str:
        return self.mul(self._present, a)

    def linear(self, name: str, a: str, weight: NDArray[np.float32]) -> str:
        no_bias = self.file.constant(f"{name}_bias", np.zeros(len(weight), dtype=np.float32))
        inputs = [a, self.file.constant(name, weight), no_bias]
        shape = (DYNAMIC, len(weight))
        options = schema.FullyConnectedOptionsT()
        return self.node("FULLY_CONNECTED", inputs, shape, options=options)

    def sum_of_tests(self, a: str) -> str:
        return self.node("SUM", [a, self._each_test], _DIES, options=schema.ReducerOptionsT())

    def largest_test(self, a: str) -> str:
        inputs = [a, self._each_test]
        return self.node("REDUCE_MAX", inputs, _DIES, options=schema.ReducerOptionsT())

    def sum_of_largest(self, a: str, k: int) -> str:
        count = self.file.constant("k", np.array(k, dtype=np.int32))
        largest = self.file.tensor("largest", "float32", (DYNAMIC, k))
        places = self.file.tensor("largest_at", "int32", (DYNAMIC, k))
        options = schema.TopKV2OptionsT()
        self.file.operator("TOPK_V2", [a, count], [largest, places], options=options)
        return self.sum_of_tests(largest)

    def by_present(self, name: str, table: NDArray[np.float32]) -> str:
        inputs = [self.file.constant(name, table), self._n_present]
        return self.node("GATHER", inputs, _DIES, options=schema.GatherOptionsT())

    @cached_property
    def _n_present(self) -> str:
        return self._cast(self.sum_of_tests(self._present), "float32", "int32")

    def nan_above(self, score: str, magnitude: str, limit: float, output: str = "") -> str:
        nan = self.file.constant("nan", np.array([np.nan], dtype=np.float32))
        bound = self.file.constant(f"limit_{limit:.0e}", np.array([limit], dtype=np.float32))
        options = schema.LessEqualOptionsT()
        within = self.node("LESS_EQUAL", [magnitude, bound], dtype="bool", options=options)
        inputs = [within, score, nan]
        return self.node("SELECT_V2", inputs, output=output, options=schema.SelectV2OptionsT())

    def zeros_like(self, a: str, output: str) -> str:
        return self.node("ZEROS_LIKE", [a], output=output, options=schema.ZerosLikeOptionsT())

    def dense(self, index: int, a: str, layer: Dense, output: str) -> str:
        """A float32 layer."""
        weight = self.file.constant(f"weight_{index}", layer.weight)
        bias = self.file.constant(f"bias_{index}", layer.bias)
        shape = (DYNAMIC, len(layer.bias))
        fused = FUSED.get(layer.activation.kind, schema.ActivationFunctionType.NONE)
        options = schema.FullyConnectedOptionsT(fused)
        if layer.activation.kind in FUSED:
            inputs = [a, weight, bias]
            return self.node("FULLY_CONNECTED", inputs, shape, output=output, options=options)
        total = self.node("FULLY_CONNECTED", [a, weight, bias], shape, options=options)
        return self.activate(total, layer.activation, output)

    def quantized_dense(self, index: int, a: str, layer: QuantizedDense, output: str) -> str:
        """A layer with int8 weights on the float tensor ``a``, quantised die by die."""
        if layer.static_input is not None:
            raise UsageError(
                "static int8 activations are written to ONNX only: "
                "leave the TFLite form out, or choose the recipe's per_die activations"
            )
        steps, scale = within_bias_range(layer, 1.0)
        one = Quantization(np.ones(1, dtype=np.float32))
        weight = self.file.constant(f"weight_{index}", steps, one)
        bias = self.file.constant(f"bias_{index}", (layer.bias / scale).astype(np.float32))
        total = self.node(
            "FULLY_CONNECTED",
            [a, weight, bias],
            (DYNAMIC, len(layer.bias)),
            version=_ASYMMETRIC_INPUT_VERSION,
            options=schema.FullyConnectedOptionsT(asymmetricQuantizeInputs=True),
        )
        inputs = [total, self.file.constant(f"weight_scale_{index}", scale[np.newaxis])]
        if layer.activation.kind in FUSED:
            options = schema.MulOptionsT(FUSED[layer.activation.kind])
            return self.node("MUL", inputs, output=output, options=options)
        return self.activate(self.mul(*inputs), layer.activation, output)

    def activate(self, a: str, activation: Activation, output: str) -> str:
        if activation.kind == "leaky_relu":
            options = schema.LeakyReluOptionsT(activation.alpha)
            return self.node("LEAKY_RELU", [a], output=output, options=options)
        if activation.kind == "elu":
            return self._elu(a, activation.alpha, output)
        return self.node(_OPERATOR[activation.kind], [a], output=output)

    def _elu(self, a: str, alpha: float, output: str) -> str:
        if alpha == 1:
            return self.node("ELU", [a], output=output)
        # TFLite's ELU has no alpha: its negative part is scaled and put beside the positive one.
        zero = self.file.constant("zero", np.zeros(1, dtype=np.float32))
        factor = self.file.constant(f"alpha_{alpha:g}", np.array([alpha], dtype=np.float32))
        options = schema.MaximumMinimumOptionsT()
        negative = self.node("MINIMUM", [self.node("ELU", [a]), zero], options=options)
        positive = self.node("RELU", [a])
        inputs = [positive, self.mul(negative, factor)]
        return self.node("ADD", inputs, output=output, options=schema.AddOptionsT())

    def finish(self, manifest: Manifest) -> bytes:
        """The sealed file."""
        self.file.metadata("knowngood.manifest", manifest.to_json())
        self.file.metadata("knowngood.sha256", UNSEALED)
        outputs = ["score", "reconstruction"]
        if self.network.latent_layer is not None:
            outputs.append("latent")
        return seal(self.file.finish(self._inputs, outputs))
