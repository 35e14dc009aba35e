"""Static ranges: how far each layer's values reach on held-out good dies.

The forms whose layers' results are integers themselves, int8-full and int16x8, need one range per
layer, the same for every die. A range is never narrower than what the dies show: clipping what good
dies do seldom is just what an outlier screen must not do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._network import (
    MAX_STANDARDISED,
    Activation,
    FloatArray,
    Network,
    QuantizedNetwork,
    StaticRange,
)

INT8_MIN, INT8_MAX, INT16_MAX = -128, 127, 32767
_SMALLEST_STEP = 2.0**-64
"""Of an integer: keeps products of two steps far from float32's smallest number."""


@dataclass(frozen=True)
class ValueRange:
    """The smallest and largest of some values; always holds 0."""

    low: float
    high: float

    def widened(self, factor: float) -> ValueRange:
        """Both ends ``factor`` times as far from 0."""
        return ValueRange(self.low * factor, self.high * factor)

    def within(self, magnitude: float) -> ValueRange:
        """The part of it between ``-magnitude`` and ``magnitude``."""
        return ValueRange(max(self.low, -magnitude), min(self.high, magnitude))

    def through(self, activation: Activation) -> ValueRange:
        """The range of the function's results, 0 included."""
        ends = activation.apply(np.array([self.low, 0.0, self.high]))
        return ValueRange(min(0.0, float(ends.min())), max(0.0, float(ends.max())))

    def int16_step(self) -> float:
        """The size of an int16 step, exact in float32; int16 ranges are symmetric."""
        return _step(max(-self.low, self.high), INT16_MAX)

    def to_int8(self) -> StaticRange:
        """Step and zero point of an int8 that holds the range; 0 is exact."""
        step = _step(self.high - self.low, INT8_MAX - INT8_MIN)
        zero_point = int(np.clip(np.rint(INT8_MIN - self.low / step), INT8_MIN, INT8_MAX))
        return StaticRange(step, zero_point)


def _step(extent: float, n_steps: int) -> float:
    """``extent / n_steps`` in float32, 1 for no extent."""
    return float(np.float32(max(extent / n_steps, _SMALLEST_STEP))) if extent > 0 else 1.0


@dataclass(frozen=True)
class RangedNetwork(QuantizedNetwork):
    """A network with int8 weights that also knows how far its values reach on good dies.

    Attributes:
        ranges: of the standardised values, then of each layer's sums before its activation.
    """

    ranges: tuple[ValueRange, ...]


def with_static_ranges(
    network: QuantizedNetwork, values: NDArray[np.float32], group: NDArray[np.int32] | None = None
) -> RangedNetwork:
    """Measure a network's ranges in float32, weights as they were rounded.

    Args:
        network: in int8.
        values: float32 ``(n_dies, n_tests)`` of held-out good dies, raw units, NaN where missing.
            Dies out of range, which get no score, set no range.
        group: int32 ``(n_dies,)``.

    Raises:
        NotEnoughDataError: no die is in range.
        UsageError: a layer's sums are not finite.
    """
    u = calibration_dies(network.network, values, group)
    ranges = tuple(range_of(x) for x in _sums(network, u))
    return RangedNetwork(network.network, network.layers, ranges)


def calibration_dies(
    network: Network, values: NDArray[np.float32], group: NDArray[np.int32] | None
) -> NDArray[np.float32]:
    """u of the dies that are in range and show something, 0 where a test is missing.

    Raises:
        NotEnoughDataError: there is no such die.
    """
    scaler = network.screen.scaler
    u = scaler.standardise(values, scaler.rows(group, len(values)))
    has_values = ~np.isnan(u).all(axis=1)
    u = np.where(np.isnan(u), np.float32(0), u)
    in_range: NDArray[np.float32] = u[has_values & (np.abs(u) <= MAX_STANDARDISED).all(axis=1)]
    if len(in_range) == 0:
        raise NotEnoughDataError(
            "int8 is calibrated on good dies (ranges and rounding), found none in range "
            f"of {len(values)}, {np.count_nonzero(has_values)} of which have any value"
        )
    return in_range


def _sums(network: QuantizedNetwork, u: NDArray[np.float32]) -> Iterator[FloatArray]:
    yield u
    x: FloatArray = u
    for index, layer in enumerate(network.layers):
        with np.errstate(invalid="ignore", over="ignore"):
            sums = x @ (layer.weight * layer.weight_scale[:, None]).T + layer.bias
        if not np.isfinite(sums).all():
            raise UsageError(f"the sums of layer {index} are not finite: train the model again")
        yield sums
        x = layer.activation.apply(sums)


def range_of(x: FloatArray) -> ValueRange:
    """The range of values ``x``, of any shape but empty."""
    return ValueRange(min(0.0, float(x.min())), max(0.0, float(x.max())))
