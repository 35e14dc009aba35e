"""The score graph with integer layers: int16 activations, int8 weights.

16 bits leave room for static ranges far beyond what good dies show.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from knowngood._network import QuantizedDense
from knowngood_quantize.static_ranges import INT16_MAX, RangedNetwork

from ._integer_layer import MAX_INT32, IntegerLayer
from ._tflite_file import DYNAMIC, Quantization
from ._tflite_graph import FUSED, TfliteGraph

INT16_WIDENING = 8.0
"""How much farther ranges reach than on the good dies that they were measured on: with 13 bits left
for these, the int8 weights still make nearly all of the error."""
_QUANTIZE_VERSION, _DEQUANTIZE_VERSION, _FULLY_CONNECTED_VERSION = 2, 3, 7
"""The first ones that know int16."""


class Int16Graph(TfliteGraph):
    """A `TfliteGraph` whose quantised layers hand int16 tensors to each other.

    ``_steps`` holds the step of each int16 tensor, ``_int16_of`` the int16 tensor that a float
    output of the graph was made from.
    """

    def __init__(self, network: RangedNetwork) -> None:
        super().__init__(network.network)
        self._ranges = tuple(r.widened(INT16_WIDENING) for r in network.ranges)
        self._steps: dict[str, float] = {}
        self._int16_of: dict[str, str] = {}

    def quantized_dense(self, index: int, a: str, layer: QuantizedDense, output: str) -> str:
        """A layer on ``a``, an int16 tensor or a float one; float if the graph wants its output."""
        source = self._int16_input(index, a)
        sums = self._fully_connected(index, source, layer)
        if layer.activation.kind not in FUSED:
            return self.activate(self._to_float(sums, ""), layer.activation, output)
        if not output:
            return sums
        result = self._to_float(sums, output)
        self._int16_of[result] = sums
        return result

    def _int16_input(self, index: int, a: str) -> str:
        a = self._int16_of.get(a, a)
        if a in self._steps:
            return a
        reach = self._ranges[index]
        if index == 0:
            step = reach.int16_step()
            return self._quantize(self._clamped(a, step * INT16_MAX), step)
        activation = self.network.layers[index - 1].activation
        return self._quantize(a, reach.through(activation).int16_step())

    def _clamped(self, a: str, limit: float) -> str:
        """``a`` within what int16 holds: kernels convert to int32 before they saturate."""
        options = schema.MaximumMinimumOptionsT()
        for operator, end in (("MINIMUM", limit), ("MAXIMUM", -limit)):
            bound = self.file.constant(f"{operator}_{end:.9g}", np.array([end], dtype=np.float32))
            a = self.node(operator, [a, bound], options=options)
        return a

    def _quantize(self, a: str, step: float) -> str:
        return self._int16("QUANTIZE", [a], self.file.shape(a), step, _QUANTIZE_VERSION)

    def _int16(
        self,
        operator: str,
        inputs: list[str],
        shape: tuple[int, ...],
        step: float,
        version: int,
        options: schema.FullyConnectedOptionsT | None = None,
    ) -> str:
        """Add an operator with an int16 output."""
        name = f"int16_{len(self._steps)}"
        self.file.tensor(name, "int16", shape, _one_step(step))
        self.file.operator(operator, inputs, [name], version=version, options=options)
        self._steps[name] = step
        return name

    def _fully_connected(self, index: int, source: str, layer: QuantizedDense) -> str:
        sums = self._ranges[index + 1]
        fused = FUSED.get(layer.activation.kind, schema.ActivationFunctionType.NONE)
        if layer.activation.kind in FUSED:
            sums = sums.through(layer.activation)
        step = sums.int16_step()
        integers = IntegerLayer.of(layer, self._steps[source], step)
        # With an int32 bias the kernels are 20 times as fast, but add up in int32.
        fits = integers.largest_sum(INT16_MAX + 1) <= MAX_INT32
        bias = integers.bias.astype(np.int32) if fits else integers.bias
        weight = self.file.constant(
            f"weight_{index}", integers.weight, Quantization(integers.weight_scale)
        )
        bias_name = self.file.constant(f"bias_{index}", bias, Quantization(integers.bias_scale))
        inputs = [source, weight, bias_name]
        shape = (DYNAMIC, len(layer.bias))
        options = schema.FullyConnectedOptionsT(fused)
        return self._int16(
            "FULLY_CONNECTED", inputs, shape, step, _FULLY_CONNECTED_VERSION, options
        )

    def _to_float(self, a: str, output: str) -> str:
        return self.node("DEQUANTIZE", [a], output=output, version=_DEQUANTIZE_VERSION)


def _one_step(step: float) -> Quantization:
    return Quantization(np.array([step], dtype=np.float32))
