"""Spare neurons filled with copies: the same function, finer weights, fewer verdicts changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from knowngood._errors import UsageError
from knowngood._forward import reconstruct
from knowngood._network import Activation, ActivationKind, Dense, Network
from knowngood_quantize._spare_neurons import FilledNetwork, fill_spare_neurons
from knowngood_quantize.int8 import Int8Recipe, quantize, simulate
from random_networks import make_network

N_TESTS, N_FACTORS = 40, 4
Float32 = NDArray[np.float32]


def _dies(n: int, seed: int) -> Float32:
    rng = np.random.default_rng(seed)
    loads = np.random.default_rng(3).standard_normal((N_FACTORS, N_TESTS))
    u = rng.standard_normal((n, N_FACTORS)) @ loads + 0.5 * rng.standard_normal((n, N_TESTS))
    return (u / np.sqrt(N_FACTORS)).astype(np.float32)


def _pca_network(width: int, extra: float = 0.0, kind: ActivationKind = "relu") -> Network:
    """PCA through pairs of neurons; the rest of the hidden layers is idle, or does ``extra``."""
    rng = np.random.default_rng(5)
    axes = np.linalg.svd(_dies(2000, 1), full_matrices=False)[2][:N_FACTORS]
    idle = width - 2 * N_FACTORS
    first = np.vstack([axes, -axes, extra * rng.standard_normal((idle, N_TESTS))])
    back = np.hstack([np.eye(N_FACTORS), -np.eye(N_FACTORS), np.zeros((N_FACTORS, idle))])
    back[:, 2 * N_FACTORS :] = extra * rng.standard_normal((N_FACTORS, idle))
    forth = np.vstack([np.eye(N_FACTORS), -np.eye(N_FACTORS), np.zeros((idle, N_FACTORS))])
    last = np.hstack([axes.T, -axes.T, rng.standard_normal((N_TESTS, idle))])
    hidden = Activation(kind, 0.02)
    layers = [
        Dense(weight.astype(np.float32), np.zeros(len(weight), np.float32), activation)
        for weight, activation in (
            (first, hidden), (back, Activation()), (forth, hidden), (last, Activation()),
        )
    ]  # fmt: skip
    template = make_network((N_TESTS, width, N_FACTORS, width, N_TESTS), head="mse")
    scaler = replace(
        template.screen.scaler,
        centre=np.zeros((1, N_TESTS)),
        inv_scale=np.ones((1, N_TESTS)),
    )
    screen = replace(template.screen, scaler=scaler)
    return replace(template, screen=screen, layers=tuple(layers), latent_layer=1)


def _filled(network: Network) -> FilledNetwork:
    plain = quantize(network)
    return fill_spare_neurons(network, _dies(500, 2), lambda u: simulate(plain, u))


def _score_error(network: Network, recipe: Int8Recipe, u: Float32) -> float:
    """Root mean square of the relative change of mean r²."""
    y = simulate(quantize(network, _dies(1500, 6), None, recipe), u)
    exact, found = (((u - a) ** 2).mean(axis=1) for a in (reconstruct(network, u), y))
    return float(np.sqrt(np.mean((found / exact - 1) ** 2)))


def test_every_spare_neuron_becomes_a_copy_and_the_function_stays() -> None:
    network, u = _pca_network(32), _dies(300, 4)
    filled = _filled(network)
    same = reconstruct(replace(network, layers=filled.layers), u)
    np.testing.assert_allclose(same, reconstruct(network, u), atol=1e-6)
    for index in (0, 2):
        assert np.bincount(filled.turns[index]).tolist() == [8, 8, 8, 8]
        originals, turns = filled.originals[index], filled.turns[index]
        assert (originals[turns == 0] == np.flatnonzero(turns == 0)).all()
        np.testing.assert_array_equal(
            filled.layers[index].weight, network.layers[index].weight[originals]
        )
        shared = network.layers[index + 1].weight[:, originals] / np.float32(4)
        np.testing.assert_array_equal(filled.layers[index + 1].weight, shared)
    for index in (1, 3):
        assert not filled.turns[index].any()


@pytest.mark.parametrize("kind", ["relu", "leaky_relu", "tanh"])
def test_a_constant_neuron_moves_into_the_next_bias(kind: ActivationKind) -> None:
    network, u = _pca_network(12, kind=kind), _dies(300, 4)
    network.layers[0].bias[8:] = np.linspace(0.5, 2, 4, dtype=np.float32)
    network.layers[1].weight[:, 8:] = 0.7
    filled = _filled(network)
    same = reconstruct(replace(network, layers=filled.layers), u)
    np.testing.assert_allclose(same, reconstruct(network, u), atol=2e-5)
    assert (filled.turns[0] == 1).sum() == 4


def test_verdicts_move_less() -> None:
    network, fresh = _pca_network(32), _dies(4000, 7)
    filled = _score_error(network, Int8Recipe(), fresh)
    assert filled < 0.75 * _score_error(network, Int8Recipe(fill_spare_neurons=False), fresh)


def test_neurons_that_hardly_matter_make_room_and_those_that_matter_stay() -> None:
    assert (_filled(_pca_network(16, extra=1e-3)).turns[0] == 1).sum() == 8
    assert not _filled(_pca_network(16, extra=0.3)).turns[0].any()


def test_making_room_moves_the_code_but_little() -> None:
    network, u = _pca_network(16, extra=1e-3), _dies(500, 8)
    filled = _filled(network).layers
    code, moved = (_code_of(layers, u) for layers in (network.layers, filled))
    change = np.sqrt(np.mean((moved - code) ** 2) / np.mean(code**2))
    assert 1e-7 < change < 0.005
    assert np.abs(moved - code).max() < 0.02 * np.abs(code).max()


def _code_of(layers: tuple[Dense, ...], u: Float32) -> Float32:
    for layer in layers[:2]:
        u = layer.activation.apply(u @ layer.weight.T + layer.bias)
    return u


def test_a_neuron_that_only_a_defect_wakes_stays() -> None:
    """Idle on good dies, it takes one test's excursion off the score: good dies do not miss it."""
    network = _pca_network(16)
    network.layers[0].weight[8:] = 0
    network.layers[0].weight[np.arange(8, 16), np.arange(8)] = 1
    network.layers[1].weight[:, 8:] = 0.5
    network.layers[0].bias[8:] = -5
    assert (_dies(500, 2)[:, :8] < 5).all()
    assert not _filled(network).turns[0].any()


def test_the_code_and_outputs_of_narrow_networks_stay() -> None:
    network = _pca_network(32)
    filled = _filled(network)
    code, same = (_code_of(layers, _dies(50, 8)) for layers in (network.layers, filled.layers))
    np.testing.assert_allclose(same, code, atol=1e-5)
    for widths in ((6, 6), (6, 3, 6)):
        small = replace(make_network(widths), latent_layer=0 if len(widths) == 3 else None)
        filled = fill_spare_neurons(small, _dies(50, 9)[:, :6], lambda u: u.astype(np.float64))
        assert [not t.any() for t in filled.turns] == [True] * (len(widths) - 1)


def test_sums_that_are_not_finite_are_refused() -> None:
    network = _pca_network(16)
    network.layers[0].bias[0] = np.inf
    with pytest.raises(UsageError, match="inputs of layer 1 are not finite"):
        fill_spare_neurons(network, _dies(20, 1), lambda u: u.astype(np.float64))
