"""Layers with integer inputs and outputs in static ranges, in float64: an oracle for their files.

Follows TFLite's quantisation specification: int8 tensors are asymmetric with 256 steps over the
range, int16 tensors symmetric with 32,767 steps to either side, 0 is exact, results saturate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from knowngood._network import Activation
from knowngood_quantize.static_ranges import RangedNetwork

Floats = NDArray[np.float64]


def int8_step(low: float, high: float) -> float:
    return (high - low) / 255


def in_int8(x: Floats, low: float, high: float) -> Floats:
    step = int8_step(low, high)
    zero = np.clip(np.rint(-128 - low / step), -128, 127)
    return (np.clip(np.rint(x / step) + zero, -128, 127) - zero) * step


def in_int16(x: Floats, magnitude: float) -> Floats:
    step = magnitude / 32767
    return np.clip(np.rint(x / step), -32768, 32767) * step


def activation_ends(activation: Activation, low: float, high: float) -> tuple[float, float]:
    """The ends of a tensor behind the activation; sigmoid and tanh have fixed ones."""
    if activation.kind == "sigmoid":
        return 0.0, 255 / 256
    if activation.kind == "tanh":
        return -1.0, 127 / 128
    ends = activation.apply(np.array([low, high]))
    return min(float(ends[0]), 0.0), float(ends[1])


def full_int8(ranged: RangedNetwork, u: NDArray[np.float32], widening: float) -> Floats:
    """y of a full-integer int8 file, float64 ``(n_dies, n_tests)``."""
    ends = [(r.low * widening, r.high * widening) for r in ranged.ranges]
    a = in_int8(u.astype(np.float64), *ends[0])
    for layer, (low, high) in zip(ranged.layers, ends[1:], strict=True):
        a = a @ (layer.weight * layer.weight_scale[:, None].astype(np.float64)).T + layer.bias
        if layer.activation.kind not in ("linear", "relu"):
            if layer.activation.kind in ("sigmoid", "tanh"):
                low, high = max(low, -8.0), min(high, 8.0)
            a = in_int8(a, low, high)
        a = in_int8(layer.activation.apply(a), *activation_ends(layer.activation, low, high))
    return a


def int16x8(ranged: RangedNetwork, u: NDArray[np.float32], widening: float) -> Floats:
    """y of an int16x8 file, float64 ``(n_dies, n_tests)``; activations run in float."""
    reach = [max(-r.low, r.high) * widening for r in ranged.ranges]
    a = in_int16(u.astype(np.float64), reach[0])
    for layer, sums, r in zip(ranged.layers, reach[1:], ranged.ranges[1:], strict=True):
        a = a @ (layer.weight * layer.weight_scale[:, None].astype(np.float64)).T + layer.bias
        if layer.activation.kind == "relu":
            a = in_int16(np.maximum(a, 0), r.high * widening)
            continue
        a = in_int16(a, sums)
        if layer.activation.kind != "linear":
            low, high = layer.activation.apply(np.array([r.low, r.high]) * widening)
            a = in_int16(layer.activation.apply(a), max(-low, high))
    return a
