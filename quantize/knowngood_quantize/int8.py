"""int8 form of a network: which numbers the exported int8 files hold.

Weights are symmetric with a scale per output channel, −127 … 127, rounded half to even. A layer's
input is made int8 in units of the die's own largest magnitude, so that neither a shifted lot nor
one wild reading leaves the range: 255 steps where the input cannot be negative, 127 to either side
elsewhere. A static range from held-out good dies costs less and can be asked for, but clips what
lies beyond: an outlier screen meets just such dies. Bias, scaler, residual and head stay float32.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

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
    StaticRange,
)

QMIN, QMAX = -128, 127
WEIGHT_MAX = 127
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Int8Recipe:
    """How a network is made int8.

    Attributes:
        activations: "per_die": scaled by each die's largest magnitude; "static": one range for
            all, the smallest and largest value on held-out good dies.
        per_channel: one weight scale per output channel; False gives one per matrix, which
            costs accuracy and serves comparison.
        range_margin: share by which a static range is widened beyond what good dies show.
    """

    activations: Literal["per_die", "static"] = "per_die"
    per_channel: bool = True
    range_margin: float = 0.0

    def __post_init__(self) -> None:
        if self.activations not in ("per_die", "static"):
            raise UsageError(f"activations are per_die or static, found {self.activations!r}")
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
    values: NDArray[np.float32] | None = None,
    group: NDArray[np.int32] | None = None,
    recipe: Int8Recipe = Int8Recipe(),
) -> QuantizedNetwork:
    """Make a network int8.

    Args:
        network: in float32; its thresholds do not hold for the int8 form and must be refitted.
        values: float32 ``(n_dies, n_tests)`` of held-out good dies, raw units, NaN where missing;
            only static ranges need them. Dies out of range, which get no score, set no range.
        group: int32 ``(n_dies,)``.
        recipe: how.

    Raises:
        NotEnoughDataError: static ranges, and there is no die to take them from.
        UsageError: a layer's weights, or its inputs on these dies, are not finite.
    """
    ranges: Sequence[StaticRange | None] = [None] * len(network.layers)
    if recipe.activations == "static":
        ranges = _static_ranges(network, values, group, recipe.range_margin)
    return QuantizedNetwork(
        network,
        tuple(
            _quantize_layer(index, layer, recipe, static)
            for index, (layer, static) in enumerate(zip(network.layers, ranges, strict=True))
        ),
    )


def _static_ranges(
    network: Network,
    values: NDArray[np.float32] | None,
    group: NDArray[np.int32] | None,
    margin: float,
) -> list[StaticRange]:
    n_dies = 0 if values is None else len(values)
    x = _standardised(network, values, group) if values is not None else np.empty((0, 0))
    if len(x) == 0:
        raise NotEnoughDataError(
            f"static int8 ranges are taken from held-out good dies, found none in range of {n_dies}"
        )
    ranges = []
    for index, layer in enumerate(network.layers):
        if not np.isfinite(x).all():
            raise UsageError(f"the inputs of layer {index} are not finite: train the model again")
        ranges.append(_static_range(float(x.min()), float(x.max()), margin))
        x = layer.activation.apply(x @ layer.weight.T + layer.bias)
    return ranges


def _standardised(
    network: Network, values: NDArray[np.float32], group: NDArray[np.int32] | None
) -> FloatArray:
    scaler = network.screen.scaler
    x: FloatArray = scaler.standardise(values, scaler.rows(group, len(values)))
    x = np.where(np.isnan(x), np.float32(0), x)
    scored: FloatArray = x[(np.abs(x) <= MAX_STANDARDISED).all(axis=1)]
    return scored


def _quantize_layer(
    index: int, layer: Dense, recipe: Int8Recipe, static: StaticRange | None
) -> QuantizedDense:
    for name, array in (("weights", layer.weight), ("bias", layer.bias)):
        if not np.isfinite(array).all():
            raise UsageError(f"the {name} of layer {index} are not finite: train the model again")
    weight, weight_scale = _quantize_weight(layer.weight, recipe.per_channel)
    return QuantizedDense(weight, weight_scale, layer.bias, layer.activation, static)


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


def _static_range(low: float, high: float, margin: float) -> StaticRange:
    """A scale (exact in float32) and zero point that hold 0 and [low, high]."""
    low, high = min(low, 0.0) * (1 + margin), max(high, 0.0) * (1 + margin)
    if low == high:
        return StaticRange(1.0, 0)
    scale = max(float(np.float32((high - low) / (QMAX - QMIN))), SMALLEST_SCALE)
    return StaticRange(scale, int(np.clip(np.rint(QMIN - low / scale), QMIN, QMAX)))


def simulate(quantized: QuantizedNetwork, u: NDArray[np.float32]) -> NDArray[np.float64]:
    """y, float64 ``(n_dies, n_tests)``: what the int8 ONNX file computes, up to float32.

    Inputs are rounded half to even as QuantizeLinear does; layers' outputs are not rounded.

    Args:
        quantized: the int8 form.
        u: float32 ``(n_dies, n_tests)``, standardised, missing tests given as 0.
    """
    if not quantized.layers:
        return np.zeros(u.shape)
    x: NDArray[Any] = u
    is_positive = False
    for layer in quantized.layers:
        steps, scale = _int8_input(x.astype(np.float32), layer.static_input, is_positive)
        acc = steps.astype(np.float64) @ layer.weight.T.astype(np.float64)  # exact, as in int32
        x = layer.activation.apply(acc * scale * layer.weight_scale.astype(np.float64) + layer.bias)
        is_positive = layer.activation.is_positive
    return x.astype(np.float64)


def _int8_input(
    x: NDArray[np.float32], static: StaticRange | None, is_positive: bool
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Whole steps ``(n, n_in)`` from zero, and the step's size, ``(n, 1)`` or ``(1, 1)``."""
    if static is not None:
        steps = np.rint(x / np.float32(static.scale)) + static.zero_point
        return np.clip(steps, QMIN, QMAX) - static.zero_point, np.full((1, 1), static.scale)
    largest = np.maximum(np.abs(x).max(axis=1, keepdims=True), SMALLEST_SCALE).astype(np.float64)
    size = largest / (255 if is_positive else WEIGHT_MAX)
    return np.rint(x / size), size
