"""Start an autoencoder as the PCA of its training dies.

A pair of ReLU units, [p]₊ and [−p]₊, carries a number unchanged through a layer. Pairs for the
leading principal components in every layer make a ReLU autoencoder reconstruct exactly as PCA with
as many components as its code is wide; training then adds what is not linear. Where dies are few,
that is where the most of the correlation lies, and random weights do not find all of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ._architecture import LEAKY_SLOPE, Architecture

Float64 = NDArray[np.float64]
SMALLEST_SHARE = 1e-6
"""Components below this share of the largest variance are not scaled up to unit variance."""
PAIR_GAIN = {"relu": 1.0, "leaky_relu": 1.0 + LEAKY_SLOPE}
"""What f(p) − f(−p) is in units of p."""


class _Components(NamedTuple):
    """Whitened principal components: p = (u − mean) @ axes / sigma.

    mean ``(n_tests,)``, axes ``(n_tests, n)``, sigma ``(n,)``.
    """

    mean: Float64
    axes: Float64
    sigma: Float64


def can_start_as_pca(n_tests: int, architecture: Architecture) -> bool:
    """Whether every hidden layer has room for a pair of units per component of the code."""
    narrowest = min(architecture.hidden, default=2 * architecture.latent)
    return (
        architecture.latent <= n_tests
        and narrowest >= 2 * architecture.latent
        and (not architecture.hidden or architecture.activation in PAIR_GAIN)
    )


@torch.no_grad()
def start_as_pca(module: nn.Sequential, architecture: Architecture, u: torch.Tensor) -> None:
    """Set the weights of an untrained module to the PCA of ``u`` (n_dies, n_tests)."""
    layers = [part for part in module if isinstance(part, nn.Linear)]
    n_tests = u.shape[1]
    hidden = [min(width // 2, n_tests) for width in architecture.hidden]
    gain = PAIR_GAIN.get(architecture.activation, 1.0)
    components = _components(u.numpy().astype(np.float64), max([*hidden, architecture.latent]))
    carried = [*hidden, architecture.latent, *reversed(hidden)]
    for index, layer in enumerate(layers):
        n_in = carried[index - 1] if index else n_tests
        n_out = carried[index] if index < len(carried) else n_tests
        takes_pairs = 0 < index != architecture.latent_layer + 1
        gives_pairs = index not in (architecture.latent_layer, len(layers) - 1)
        weight, bias = _between(components, n_in, n_out, index == 0, index == len(layers) - 1)
        if takes_pairs:
            weight = np.hstack([weight, -weight]) / gain
        if gives_pairs:
            weight, bias = np.vstack([weight, -weight]), np.concatenate([bias, -bias])
        _put(layer, weight, bias)


def _components(u: Float64, n: int) -> _Components:
    mean = u.mean(axis=0)
    centred = u - mean
    variance, axes = np.linalg.eigh(centred.T @ centred / len(u))
    variance, axes = variance[::-1][:n], axes[:, ::-1][:, :n]
    sigma = np.sqrt(np.maximum(variance, max(variance[0] * SMALLEST_SHARE, SMALLEST_SHARE)))
    return _Components(mean, axes, sigma)


def _between(
    components: _Components, n_in: int, n_out: int, is_first: bool, is_last: bool
) -> tuple[Float64, Float64]:
    """Weight and bias that carry components on, take them from tests, or give tests back."""
    mean, axes, sigma = components
    encode = (axes / sigma).T
    decode = axes * sigma
    if is_first:
        return encode[:n_out], -encode[:n_out] @ mean
    if is_last:
        return decode[:, :n_in], mean
    return np.eye(n_out, n_in), np.zeros(n_out)


def _put(layer: nn.Linear, weight: Float64, bias: Float64) -> None:
    """Fill a layer's leading rows and columns; units left over stay random, and unheard."""
    n_out, n_in = weight.shape
    layer.weight[:n_out, :n_in] = torch.from_numpy(weight.astype(np.float32))
    layer.weight[:n_out, n_in:] = 0
    layer.bias[:n_out] = torch.from_numpy(bias.astype(np.float32))
