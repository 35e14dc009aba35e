"""SmoothQuant between layers: the formula, and that the function stays."""

from __future__ import annotations

import numpy as np
import pytest

from knowngood._forward import reconstruct
from knowngood._network import ActivationKind
from knowngood_quantize._smoothing import smooth
from knowngood_quantize.int8 import Int8Recipe, quantize
from random_networks import make_network


def _dies(n: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((n, 12)).astype(np.float32)


@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["relu", "leaky_relu", "tanh", "elu"])
def test_the_function_stays(kind: ActivationKind, strength: float) -> None:
    network, u = make_network(activation=kind), _dies(200)
    smoothed = smooth(network, u, strength)
    np.testing.assert_allclose(reconstruct(smoothed, u), reconstruct(network, u), atol=1e-5)
    moved = any(
        not np.array_equal(a.weight, b.weight)
        for a, b in zip(smoothed.layers, network.layers, strict=True)
    )
    assert moved == (kind in ("relu", "leaky_relu"))


def test_factors_are_those_of_the_paper() -> None:
    network, u = make_network(), _dies(300)
    hidden = np.maximum(u @ network.layers[0].weight.T + network.layers[0].bias, 0)
    reach, weight = hidden.max(axis=0), np.abs(network.layers[1].weight).max(axis=0)
    for strength in (0.5, 0.8):
        factor = reach**strength / weight ** (1 - strength)
        found = smooth(network, u, strength).layers
        np.testing.assert_allclose(
            found[0].weight * factor[:, None], network.layers[0].weight, 1e-4
        )
        np.testing.assert_allclose(found[1].weight, network.layers[1].weight * factor, 1e-4)


def test_at_full_strength_all_neurons_reach_equally_far() -> None:
    network, u = make_network(), _dies(300)
    first = smooth(network, u, 1.0).layers[0]
    reach = np.maximum(u @ first.weight.T + first.bias, 0).max(axis=0)
    np.testing.assert_allclose(reach, 1, rtol=1e-5)


def test_the_code_a_silent_neuron_and_the_recipe() -> None:
    network, u = make_network(), _dies(300)
    network.layers[0].bias[2] = -100
    smoothed = smooth(network, u, 0.5)
    np.testing.assert_array_equal(smoothed.layers[0].weight[2], network.layers[0].weight[2])
    code, same = u, u
    for layer, other in zip(network.layers[:2], smoothed.layers[:2], strict=True):
        code = layer.activation.apply(code @ layer.weight.T + layer.bias)
        same = other.activation.apply(same @ other.weight.T + other.bias)
    np.testing.assert_allclose(same, code, atol=1e-5)
    values = (u / network.screen.scaler.inv_scale[0] + network.screen.scaler.centre[0]).astype(
        np.float32
    )
    plain, by_recipe = (
        quantize(network, values, None, Int8Recipe(smoothing=s, fill_spare_neurons=False))
        for s in (0.0, 0.5)
    )
    assert not np.array_equal(plain.layers[1].weight, by_recipe.layers[1].weight)
