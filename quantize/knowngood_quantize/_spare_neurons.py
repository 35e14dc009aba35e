"""Hidden neurons that do nothing carry copies of those that do: finer weights at no cost.

A wide hidden layer around a narrow code has more neurons than it uses. One that no live input
reaches, or whose output nobody takes, is *spare*. The int8 form fills its place with a copy of a
live neuron, whose outgoing weights are shared out among the copies. In float32 nothing changes. In
int8 the largest outgoing weight, which sets the size of a channel's steps, is halved or quartered;
and each copy is rounded so that it makes up for the error of those before (`int8`). After Zhao et
al., "Improving neural network quantization without retraining using outlier channel splitting"
(2019), without the wider layers.

Where a layer has too few spare neurons, those that matter least are taken out first, as long as
scores hardly move: optimal brain surgeon (Hassibi and Stork 1993) says which, and how the next
layer's weights make up for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from knowngood._network import Dense, Network

from ._gptq import SMALLEST_SCALE, Float64, require_finite_inputs
from .sampling import evenly_spaced

MAX_DIES = 2048
EXCURSION = 6.0
"""Sigma by which one test of each die is moved, for neurons that only defects make speak."""
MOST_DRIFT = 0.1
"""What taking out neurons may move scores (mean r²) and outputs, root mean square over dies, as a
share of what int8 with each weight rounded to the nearest moves them."""
FEWEST_TAKEN_OUT = 1 / 8
"""Of a layer's neurons: fewer gain too little."""
WIDEST = 1024
"""Neurons of wider layers all stay: choosing among them takes too long."""
DAMPING = 0.01


@dataclass(frozen=True, eq=False)
class FilledNetwork:
    """Layers of the same shapes, without spare neurons.

    Attributes:
        layers: in float32; all but the same function as before.
        originals: of each layer, intp ``(n_out,)``: the neuron that an output is a copy of.
        turns: of each layer, intp ``(n_out,)``: 0 for the neuron itself, 1, 2, … for its copies.
    """

    layers: tuple[Dense, ...]
    originals: tuple[NDArray[np.intp], ...]
    turns: tuple[NDArray[np.intp], ...]

    @classmethod
    def plain(cls, layers: tuple[Dense, ...]) -> FilledNetwork:
        """The layers as they are."""
        widths = [len(layer.weight) for layer in layers]
        originals = tuple(np.arange(n, dtype=np.intp) for n in widths)
        return cls(layers, originals, tuple(np.zeros(n, np.intp) for n in widths))


def fill_spare_neurons(
    network: Network, u: NDArray[np.float32], int8: Callable[[NDArray[np.float32]], Float64]
) -> FilledNetwork:
    """Put copies of live neurons in the place of spare ones.

    Every neuron of the code (``latent_layer``) and of the last layer keeps its place. The weights
    into the code change where neurons before it are taken out, and it moves a little on each die:
    what is bounded is how far scores and outputs move (``MOST_DRIFT``), not the code.

    Args:
        network: in float32.
        u: float32 ``(n_dies, n_tests)`` of good dies, standardised, missing tests given as 0.
        int8: what a plain int8 form makes of such u, float64 ``(n, n_tests)``; taking neurons out
            may move scores and outputs by a small share of what this does.

    Raises:
        UsageError: a layer's inputs are not finite on these dies.
    """
    dies = _with_excursions(u[evenly_spaced(len(u), MAX_DIES)])
    layers = _without_constants(network.layers)
    hidden = [i for i in range(len(layers) - 1) if i != network.latent_layer]
    if not hidden:
        return FilledNetwork.plain(layers)
    limit = MOST_DRIFT * _drift(
        dies, _layer_inputs(layers, dies)[-1], int8(dies.astype(np.float32))
    )
    for index in hidden:
        layers = _with_neurons_taken_out(layers, index, dies, limit)
    filled = FilledNetwork.plain(layers)
    inputs = _layer_inputs(layers, dies)
    for index in hidden:
        filled = _fill(filled, index, inputs[index + 1])
    return filled


def _with_excursions(u: NDArray[np.float32]) -> Float64:
    """The dies, and each of them with one test far out."""
    rng = np.random.default_rng(0)
    odd = u.astype(np.float64)
    column = rng.integers(0, u.shape[1], len(u))
    odd[np.arange(len(u)), column] += EXCURSION * rng.choice([-1.0, 1.0], len(u))
    return np.concatenate([u.astype(np.float64), odd])


def _drift(u: Float64, exact: Float64, found: Float64) -> Float64:
    """How far scores and outputs move: their root mean squares, ``(2,)``."""
    before, after = (((u - y) ** 2).mean(axis=1) for y in (exact, found))
    moved = after / np.maximum(before, SMALLEST_SCALE) - 1
    squares = np.array([np.mean(moved**2), np.mean((found - exact) ** 2)])
    return np.asarray(np.sqrt(squares), np.float64)


def _layer_inputs(layers: tuple[Dense, ...], u: Float64) -> list[Float64]:
    """The inputs of each layer, and last the reconstruction."""
    inputs = [u]
    for index, layer in enumerate(layers):
        require_finite_inputs(index, inputs[-1])
        with np.errstate(over="ignore"):
            sums = inputs[-1] @ layer.weight.T.astype(np.float64) + layer.bias
            inputs.append(layer.activation.apply(sums).astype(np.float64))
    return inputs


def _without_constants(layers: tuple[Dense, ...]) -> tuple[Dense, ...]:
    """What is the same on every die goes into the next bias; its weights become 0."""
    changed = list(layers)
    for index, layer in enumerate(layers[:-1]):
        silent = ~changed[index].weight.any(axis=1)
        constant = np.where(silent, layer.activation.apply(changed[index].bias), 0)
        following = changed[index + 1]
        bias = following.bias + following.weight @ constant
        weight = np.where(silent, np.float32(0), following.weight)
        changed[index + 1] = replace(following, weight=weight, bias=bias.astype(np.float32))
    return tuple(changed)


def _is_spare(layers: tuple[Dense, ...], index: int) -> NDArray[np.bool_]:
    is_reached, is_heard = layers[index].weight.any(axis=1), layers[index + 1].weight.any(axis=0)
    return ~np.logical_and(is_reached, is_heard)


def _with_neurons_taken_out(
    layers: tuple[Dense, ...], index: int, u: Float64, limit: Float64
) -> tuple[Dense, ...]:
    """So many that each one left has a copy, or half as many, and so on, or none."""
    width, spare = len(layers[index].weight), _is_spare(layers, index)
    n_out = (width + 1) // 2 - int(spare.sum())
    inputs = _layer_inputs(layers, u)
    while n_out >= FEWEST_TAKEN_OUT * width and width <= WIDEST:
        tried = _take_out(layers, index, inputs[index + 1], n_out)
        drift = _drift(u, inputs[-1], _layer_inputs(tried, u)[-1])
        if (drift <= limit).all():
            return tried
        n_out //= 2
    return layers


def _take_out(
    layers: tuple[Dense, ...], index: int, outputs: Float64, n_out: int
) -> tuple[Dense, ...]:
    """Without the ``n_out`` neurons whose loss the next layer can best make up for."""
    layer, following = layers[index], layers[index + 1]
    exact, mean = following.weight.astype(np.float64), outputs.mean(axis=0)
    inverse = _inverse_covariance(outputs - mean)
    weight: Float64 = exact.copy()
    is_left = ~_is_spare(layers, index)
    for _ in range(n_out):
        pivots = np.diagonal(inverse)
        cost = (weight**2).sum(axis=0) / np.where(pivots > 0, pivots, 1)
        j = int(np.where(is_left, cost, np.inf).argmin())
        weight -= np.outer(weight[:, j], inverse[j] / pivots[j])
        inverse -= np.outer(inverse[:, j], inverse[j] / pivots[j])
        is_left[j] = False
        weight[:, ~is_left] = 0
    bias = following.bias + (exact - weight) @ mean
    changed = list(layers)
    changed[index] = replace(layer, weight=np.where(is_left[:, None], layer.weight, np.float32(0)))
    changed[index + 1] = replace(
        following, weight=weight.astype(np.float32), bias=bias.astype(np.float32)
    )
    return tuple(changed)


def _inverse_covariance(centred: Float64) -> Float64:
    covariance = centred.T @ centred / len(centred)
    n = len(covariance)
    ridge = max(DAMPING * float(np.trace(covariance)) / n, SMALLEST_SCALE)
    return np.asarray(np.linalg.inv(covariance + ridge * np.eye(n)), np.float64)


def _fill(filled: FilledNetwork, index: int, outputs: Float64) -> FilledNetwork:
    """Copies in the spare places of a layer, in turn of those that give most."""
    layer, following = filled.layers[index], filled.layers[index + 1]
    spare = np.flatnonzero(_is_spare(filled.layers, index))
    live = np.flatnonzero(~_is_spare(filled.layers, index))
    if not len(spare) or not len(live):
        return filled
    given = outputs[:, live].std(axis=0) * np.linalg.norm(following.weight[:, live], axis=0)
    by_size = live[np.argsort(-given, kind="stable")]
    place = np.arange(len(spare))
    original, turn = np.arange(len(layer.weight)), np.zeros(len(layer.weight), np.intp)
    original[spare], turn[spare] = by_size[place % len(live)], 1 + place // len(live)
    n_copies = np.bincount(original, minlength=len(original))[original]
    shared = (following.weight[:, original] / n_copies).astype(np.float32)
    layers = list(filled.layers)
    layers[index] = replace(layer, weight=layer.weight[original], bias=layer.bias[original])
    layers[index + 1] = replace(following, weight=shared)
    return FilledNetwork(
        tuple(layers),
        (*filled.originals[:index], original, *filled.originals[index + 1 :]),
        (*filled.turns[:index], turn, *filled.turns[index + 1 :]),
    )
