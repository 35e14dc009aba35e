"""Writes a network's layers as full-integer TFLite: standardised int8 in, int8 reconstruction out.

Only operators that the Edge TPU documents, tensors of constant size for one die, nothing in float.
Standardising, missing tests, residual and score head are left to the host:
`knowngood.engines._full_int8` does them from the manifest in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from knowngood._errors import UsageError
from knowngood._manifest import Manifest
from knowngood._network import Activation, ActivationKind, Dense, QuantizedDense, StaticRange
from knowngood._seal import UNSEALED, seal
from knowngood_quantize.static_ranges import INT8_MAX, RangedNetwork, ValueRange

from ._integer_layer import MAX_INT32, IntegerLayer
from ._tflite_file import Quantization, TfliteFile

INT8_WIDENING = 1.25
"""How much farther ranges reach than on the good dies that they were measured on. Without it, good
dies to come are clipped and score several times too high; more costs accuracy."""
_ACTIVATIONS: tuple[ActivationKind, ...] = ("linear", "relu", "leaky_relu", "sigmoid", "tanh")
_ONE_DIE = 1
_LARGEST_INPUT = 255
_FULLY_CONNECTED_VERSION, _TABLE_VERSION = 4, 2
"""The first of FULLY_CONNECTED, and of LOGISTIC and TANH, with int8 input and output."""
_SATURATED = 8.0
"""Sums of sigmoid and tanh beyond this give the last int8 step, or the one before."""
_SIGMOID_OUTPUT, _TANH_OUTPUT = StaticRange(1 / 256, -128), StaticRange(1 / 128, 0)
"""The only ones that the kernels of LOGISTIC and TANH take."""


def network_to_full_int8(network: RangedNetwork, manifest: Manifest) -> bytes:
    """The bytes of a sealed full-integer ``.tflite``; the same arguments give the same bytes.

    Input ``standardised`` and output ``reconstruction`` are int8 ``(1, n_tests)``, asymmetric, with
    the scales and zero points of their tensors; an interpreter may resize the 1. Layers whose
    weights share one scale (``Int8Recipe(per_channel=False)``) are written per tensor. The ranges
    are ``INT8_WIDENING`` times those of the good dies.

    Args:
        network: in int8, with its ranges.
        manifest: its precision is "int8-full", so that `knowngood.load` knows what the file leaves
            to it.

    Raises:
        UsageError: a network without layers, with elu, or so wide that a sum might overflow.
    """
    require_operators(network.layers)
    ranges = [r.widened(INT8_WIDENING) for r in network.ranges]
    graph, last = _FullInt8Graph(), len(network.layers) - 1
    scale = graph.input(network.network.widths[0], ranges[0])
    for index, (layer, sums) in enumerate(zip(network.layers, ranges[1:], strict=True)):
        output = "reconstruction" if index == last else f"after_{index}"
        scale = graph.layer(index, layer, scale, sums, output)
    return seal(graph.finish(manifest))


def require_operators(layers: Sequence[Dense | QuantizedDense]) -> None:
    """Refuse what the Edge TPU has no operator for.

    Raises:
        UsageError: no layers at all, or an activation such as elu.
    """
    if not layers:
        raise UsageError("int8-full is made of layers, and the network has none: leave it out")
    for layer in layers:
        if layer.activation.kind not in _ACTIVATIONS:
            raise UsageError(
                f"{layer.activation.kind} is not an operator of the Edge TPU: leave int8-full out, "
                f"or train with {', '.join(_ACTIVATIONS[1:-1])} or {_ACTIVATIONS[-1]}"
            )


class _FullInt8Graph:
    """Adds one layer after another; ``_now`` is the tensor that the next one reads."""

    def __init__(self) -> None:
        self._file = TfliteFile(f"knowngood {version('knowngood')}")
        self._now = ""

    def input(self, n_tests: int, values: ValueRange) -> float:
        """Declare the input; returns its scale."""
        return self._tensor("standardised", n_tests, values.to_int8())

    def _tensor(self, name: str, width: int, form: StaticRange) -> float:
        quantization = Quantization(np.array([form.scale], dtype=np.float32), form.zero_point)
        self._now = self._file.tensor(name, "int8", (_ONE_DIE, width), quantization)
        return form.scale

    def layer(
        self, index: int, layer: QuantizedDense, input_scale: float, sums: ValueRange, output: str
    ) -> float:
        """Add a layer; returns the scale of its output."""
        kind = layer.activation.kind
        if kind == "linear":
            return self._fully_connected(index, layer, input_scale, sums.to_int8(), output)
        if kind == "relu":
            positive = sums.through(layer.activation).to_int8()
            return self._fully_connected(index, layer, input_scale, positive, output)
        if kind in ("sigmoid", "tanh"):
            sums = sums.within(_SATURATED)
        self._fully_connected(index, layer, input_scale, sums.to_int8(), f"sums_{index}")
        return self._activate(layer.activation, len(layer.bias), sums, output)

    def _fully_connected(
        self,
        index: int,
        layer: QuantizedDense,
        input_scale: float,
        form: StaticRange,
        output: str,
    ) -> float:
        integers = IntegerLayer.of(layer, input_scale, form.scale)
        if integers.largest_sum(_LARGEST_INPUT) > MAX_INT32:
            raise UsageError(
                f"layer {index} has {layer.weight.shape[1]} inputs: their sum may overflow int32 "
                "in an int8-full file. Leave that precision out, or train a narrower model."
            )
        inputs = [
            self._now,
            self._file.constant(
                f"weight_{index}", integers.weight, Quantization(integers.weight_scale)
            ),
            self._file.constant(
                f"bias_{index}", integers.bias.astype(np.int32), Quantization(integers.bias_scale)
            ),
        ]
        is_relu = layer.activation.kind == "relu"
        fused = schema.ActivationFunctionType
        options = schema.FullyConnectedOptionsT(fused.RELU if is_relu else fused.NONE)
        scale = self._tensor(output, len(layer.bias), form)
        version = _FULLY_CONNECTED_VERSION
        self._file.operator("FULLY_CONNECTED", inputs, [output], version=version, options=options)
        return scale

    def _activate(self, activation: Activation, width: int, sums: ValueRange, output: str) -> float:
        source = [self._now]
        match activation.kind:
            case "sigmoid":
                scale = self._tensor(output, width, _SIGMOID_OUTPUT)
                self._file.operator("LOGISTIC", source, [output], version=_TABLE_VERSION)
            case "tanh":
                scale = self._tensor(output, width, _TANH_OUTPUT)
                self._file.operator("TANH", source, [output], version=_TABLE_VERSION)
            case "leaky_relu":
                scale = self._tensor(output, width, sums.through(activation).to_int8())
                self._file.operator("PRELU", [*source, self._slope(activation.alpha)], [output])
            case kind:
                raise ValueError(f"{kind} is in _ACTIVATIONS, and nothing writes it")
        return scale

    def _slope(self, alpha: float) -> str:
        scale = np.array([abs(alpha) / INT8_MAX or 1.0], dtype=np.float32)
        steps = np.array([INT8_MAX * np.sign(alpha)], dtype=np.int8)
        return self._file.constant(f"slope_{alpha:g}", steps, Quantization(scale))

    def finish(self, manifest: Manifest) -> bytes:
        self._file.metadata("knowngood.manifest", manifest.to_json())
        self._file.metadata("knowngood.sha256", UNSEALED)
        return self._file.finish(["standardised"], ["reconstruction"])
