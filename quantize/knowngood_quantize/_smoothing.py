"""SmoothQuant: work moved between a layer's inputs and its weights, at the ReLUs between layers.

After Xiao et al., "SmoothQuant: accurate and efficient post-training quantization for large
language models" (2023): neuron j is divided, and its outgoing weights are multiplied, by
max|x_j|^α / max|w_j|^(1 − α). ReLU and leaky ReLU let a positive factor through, so the function
stays the same; nothing of it is left to do when a die is scored.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from knowngood._network import Network

from ._gptq import Float64, require_finite_inputs

HOMOGENEOUS = ("relu", "leaky_relu")
SMALLEST_FACTOR = 2.0**-20
"""Of a layer's largest: neurons that hardly ever speak are not blown up beyond it."""


def smooth(network: Network, u: NDArray[np.float32], strength: float) -> Network:
    """The same function with other scales of its hidden neurons.

    The first layer's inputs, the code and what no homogeneous activation gives stay as they are.

    Args:
        network: in float32.
        u: float32 ``(n_dies, n_tests)`` of good dies, standardised, missing tests given as 0.
        strength: α, from 0 to 1; at 1 all neurons of a layer reach equally far.

    Raises:
        UsageError: a layer's inputs are not finite on these dies.
    """
    layers = list(network.layers)
    x: Float64 = u.astype(np.float64)
    for index in range(len(layers) - 1):
        layer, following = layers[index], layers[index + 1]
        require_finite_inputs(index, x)
        sums = x @ layer.weight.T.astype(np.float64) + layer.bias
        x = layer.activation.apply(sums).astype(np.float64)
        if layer.activation.kind not in HOMOGENEOUS or index == network.latent_layer:
            continue
        factor = _factors(np.abs(x).max(axis=0), np.abs(following.weight).max(axis=0), strength)
        layers[index] = replace(
            layer, weight=layer.weight / factor[:, None], bias=layer.bias / factor
        )
        layers[index + 1] = replace(following, weight=following.weight * factor)
        x = x / factor
    return replace(network, layers=tuple(layers))


def _factors(reach: Float64, weight: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
    """float32 ``(n,)``, 1 for neurons that never speak or that nobody hears."""
    is_live = (reach > 0) & (weight > 0)
    heard = np.where(is_live, weight, 1).astype(np.float64)
    factor = np.where(is_live, reach, 1) ** strength / heard ** (1 - strength)
    smallest = factor.max(where=is_live, initial=SMALLEST_FACTOR) * SMALLEST_FACTOR
    return np.where(is_live, np.maximum(factor, smallest), 1.0).astype(np.float32)
