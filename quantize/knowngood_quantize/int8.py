"""int8 form of a network: which numbers the exported int8 files hold.

Weights are symmetric with a scale per output channel, −127 … 127, rounded half to even. Each
layer's input has one static scale from the smallest and largest value on held-out good dies: a
clipped tail is exactly what an outlier screen must not have. Zero is always represented exactly,
and the output of a ReLU uses all 256 steps. Bias, scaler, residual and head stay in float32.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._network import (
    MAX_STANDARDISED,
    Dense,
    FloatArray,
    Network,
    QuantizedDense,
    QuantizedNetwork,
)

QMIN, QMAX = -128, 127
WEIGHT_MAX = 127
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Int8Recipe:
    """How a network is made int8.

    Attributes:
        per_channel: one weight scale per output channel; False gives one per matrix, which
            costs accuracy and serves comparison.
        range_margin: share by which each input range is widened beyond what good dies show.
    """

    per_channel: bool = True
    range_margin: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.range_margin <= 10:
            raise UsageError(f"range_margin must be from 0 to 10, found {self.range_margin!r}")

    def to_json(self) -> str:
        """JSON text that ``from_json`` reads back equal."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Int8Recipe:
        """The recipe written by ``to_json``.

        Raises:
            UsageError: not a recipe, or a field this version does not know.
        """
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise UsageError(f"not an int8 recipe: {error}") from error


def quantize(
    network: Network,
    values: NDArray[np.float32],
    group: NDArray[np.int32] | None = None,
    recipe: Int8Recipe = Int8Recipe(),
) -> QuantizedNetwork:
    """Make a network int8.

    Args:
        network: in float32; its thresholds do not hold for the int8 form and must be refitted.
        values: float32 ``(n_dies, n_tests)`` of held-out good dies, raw units, NaN where missing;
            dies out of range, which get no score, set no range either.
        group: int32 ``(n_dies,)``.
        recipe: how.

    Raises:
        NotEnoughDataError: there is no die to take the ranges from.
        UsageError: a layer's weights, or its inputs on these dies, are not finite.
    """
    scaler = network.screen.scaler
    x: FloatArray = scaler.standardise(values, scaler.rows(group, len(values)))
    x = np.where(np.isnan(x), np.float32(0), x)
    x = x[(np.abs(x) <= MAX_STANDARDISED).all(axis=1)]
    if len(x) == 0:
        raise NotEnoughDataError(
            f"int8 ranges are taken from held-out good dies, found none in range of {len(values)}"
        )
    layers = []
    for index, layer in enumerate(network.layers):
        layers.append(_quantize_layer(index, layer, x, recipe))
        x = layer.activation.apply(x @ layer.weight.T + layer.bias)
    return QuantizedNetwork(network, tuple(layers))


def _quantize_layer(index: int, layer: Dense, x: FloatArray, recipe: Int8Recipe) -> QuantizedDense:
    for name, array in (("weights", layer.weight), ("bias", layer.bias), ("inputs", x)):
        if not np.isfinite(array).all():
            raise UsageError(f"the {name} of layer {index} are not finite: train the model again")
    weight, weight_scale = _quantize_weight(layer.weight, recipe.per_channel)
    input_scale, zero_point = _input_range(float(x.min()), float(x.max()), recipe.range_margin)
    return QuantizedDense(
        weight, weight_scale, layer.bias, layer.activation, input_scale, zero_point
    )


def _quantize_weight(
    weight: NDArray[np.float32], per_channel: bool
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    largest = np.abs(weight).max(axis=1)
    if not per_channel:
        largest = np.full_like(largest, largest.max())
    scale = np.maximum(largest / np.float32(WEIGHT_MAX), np.float32(SMALLEST_SCALE))
    scale = np.where(largest > 0, scale, np.float32(1))
    steps = np.rint(weight.astype(np.float64) / scale[:, None].astype(np.float64))
    return np.clip(steps, -WEIGHT_MAX, WEIGHT_MAX).astype(np.int8), scale.astype(np.float32)


def _input_range(low: float, high: float, margin: float) -> tuple[float, int]:
    """Scale (exact in float32) and zero point of −128 … 127 that hold 0 and [low, high]."""
    low, high = min(low, 0.0) * (1 + margin), max(high, 0.0) * (1 + margin)
    if low == high:
        return 1.0, 0
    scale = max(float(np.float32((high - low) / (QMAX - QMIN))), SMALLEST_SCALE)
    return scale, int(np.clip(np.rint(QMIN - low / scale), QMIN, QMAX))


def simulate(quantized: QuantizedNetwork, u: NDArray[np.float32]) -> NDArray[np.float64]:
    """y, float64 ``(n_dies, n_tests)``: what the int8 ONNX file computes, up to float32.

    Inputs are rounded half to even as QuantizeLinear does; the last layer's output is not rounded.
    (The int8 TFLite file takes the range of each layer's input from the die itself.)

    Args:
        quantized: the int8 form.
        u: float32 ``(n_dies, n_tests)``, standardised, missing tests given as 0.
    """
    if not quantized.layers:
        return np.zeros(u.shape)
    x: NDArray[Any] = u
    for layer in quantized.layers:
        steps = np.rint(x.astype(np.float32) / np.float32(layer.input_scale))
        q = np.clip(steps + layer.input_zero_point, QMIN, QMAX)
        # int32 sums are exact, and so are these in float64
        acc = (q - layer.input_zero_point).astype(np.float64) @ layer.weight.T.astype(np.float64)
        scale = layer.input_scale * layer.weight_scale.astype(np.float64)
        x = layer.activation.apply(acc * scale + layer.bias)
    return x.astype(np.float64)
