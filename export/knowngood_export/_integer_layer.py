"""A layer whose input and output are integers of one scale each, as TFLite's kernels compute it.

output = round((Σ input · weight + bias) · input_scale · weight_scale / output_scale) + zero point,
the sum and the bias in integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knowngood._network import QuantizedDense

from ._bias_range import within_bias_range

MAX_INT32 = 2**31 - 1
_FINEST = 2.0**-24
"""Of an output step: a unit of the accumulator is no smaller, since kernels hold the ratio as a
number of 31 bits and a shift of at most 31. Weights made coarser by this lose less than a step for
each thousand int16 inputs, and 256 times less for int8."""


@dataclass(frozen=True, eq=False)
class IntegerLayer:
    """The numbers of a layer as TFLite holds them.

    Attributes:
        weight: int8 ``(n_out, n_in)``.
        weight_scale: float32 ``(n_out,)``, or ``(1,)`` if all channels share one.
        bias: int64 ``(n_out,)``, in units of input scale · weight scale; fits int32.
        bias_scale: float32, in the shape of ``weight_scale``.
    """

    weight: NDArray[np.int8]
    weight_scale: NDArray[np.float32]
    bias: NDArray[np.int64]
    bias_scale: NDArray[np.float32]

    @classmethod
    def of(cls, layer: QuantizedDense, input_scale: float, output_scale: float) -> IntegerLayer:
        """The layer between an input and an output of these scales."""
        weight, scale = within_bias_range(layer, input_scale, _FINEST * output_scale / input_scale)
        if np.ptp(layer.weight_scale) == 0:
            weight, scale = _share_scale(weight, scale)
        bias_scale = (np.float32(input_scale) * scale).astype(np.float32)
        bias = np.rint(layer.bias.astype(np.float64) / bias_scale).astype(np.int64)
        return cls(weight, scale, bias, bias_scale)

    def largest_sum(self, largest_input: int) -> int:
        """What no accumulator's magnitude exceeds, inputs being at most ``largest_input``."""
        products = largest_input * np.abs(self.weight.astype(np.int64)).sum(axis=1)
        return int((products + np.abs(self.bias)).max())


def _share_scale(
    weight: NDArray[np.int8], scale: NDArray[np.float32]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """The coarsest channel's scale for all."""
    shared = scale.max(keepdims=True)
    steps = np.rint(weight * (scale / shared).astype(np.float64)[:, np.newaxis])
    return steps.astype(np.int8), shared
