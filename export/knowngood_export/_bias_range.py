"""Keeps an int8 layer's bias within reach of its accumulator, which both file formats need.

Both formats hold the bias in units of the accumulator. Beside a channel whose weights are next to
nothing that number would overflow, so such a channel gets coarser weights. A channel without
weights gets whatever scale holds its bias best.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from knowngood._network import QuantizedDense

MAX_BIAS_UNITS = 2.0**30
"""Fits int32 and leaves as much room again for the products."""
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


def within_bias_range(
    layer: QuantizedDense, input_scale: float, smallest_scale: float = _SMALLEST_SCALE
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights int8 ``(n_out, n_in)`` and their scales float32 ``(n_out,)``.

    |bias| / (input_scale · weight scale) is at most ``MAX_BIAS_UNITS``, no scale is below
    ``smallest_scale``. What a coarser channel loses is below 1e-4 of its bias for each thousand
    inputs.
    """
    is_bias_alone = ~layer.weight.any(axis=1) & (layer.bias != 0)
    scale = np.where(is_bias_alone, 0.0, layer.weight_scale.astype(np.float64))
    needed = np.abs(layer.bias.astype(np.float64)) / (MAX_BIAS_UNITS * input_scale)
    coarser = np.maximum(scale, np.maximum(needed, smallest_scale))
    weight = np.rint(layer.weight * (scale / coarser)[:, np.newaxis])
    return weight.astype(np.int8), coarser.astype(np.float32)
