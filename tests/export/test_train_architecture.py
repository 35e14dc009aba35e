"""Widths, the way from torch to plain layers, and the PCA start."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from knowngood._errors import UsageError
from knowngood._forward import reconstruct
from knowngood._network import Network, Scaler, Screen
from knowngood._schema import Schema
from knowngood_export._architecture import (
    Architecture,
    build_module,
    default_hidden,
    default_latent,
    dense_layers,
)
from knowngood_export._fit import AutoencoderConfig
from knowngood_export._pca_start import can_start_as_pca, start_as_pca
from knowngood_quantize.heads import unfitted_head


def network_of(architecture: Architecture, module: torch.nn.Sequential, n_tests: int) -> Network:
    scaler = Scaler(np.array([-1], np.int32), np.zeros((1, n_tests)), np.ones((1, n_tests)))
    screen = Screen(Schema.anonymous(n_tests), scaler, unfitted_head(n_tests))
    return Network(screen, dense_layers(module), architecture.latent_layer)


def correlated_dies(n_dies: int, n_tests: int, n_factors: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((n_dies, n_factors)) @ rng.standard_normal((n_factors, n_tests))
    return (factors + 0.1 * rng.standard_normal((n_dies, n_tests)) + 3).astype(np.float32)


def test_the_reference_for_512_tests() -> None:
    architecture = AutoencoderConfig().architecture(512)
    module = build_module(512, architecture)
    assert architecture.widths(512) == (512, 256, 128, 32, 128, 256, 512)
    layers = dense_layers(module)
    kinds = [layer.activation.kind for layer in layers]
    assert kinds == ["relu", "relu", "linear", "relu", "relu", "linear"]
    assert sum(layer.weight.size for layer in layers) == 335_872
    assert layers[architecture.latent_layer].weight.shape == (32, 128)


@given(st.integers(2, 5000))
def test_default_widths_narrow_to_the_code_at_any_number_of_tests(n_tests: int) -> None:
    latent = default_latent(n_tests)
    first, second = default_hidden(n_tests, latent)
    assert 1 <= latent < n_tests
    assert first >= second >= 2 * latent
    assert first <= max(512, 2 * latent)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "sigmoid", "tanh"])
def test_extracted_layers_compute_what_the_module_computes(activation: str) -> None:
    architecture = Architecture((7, 5), 3, activation, dropout=0.2)  # type: ignore[arg-type]
    module = build_module(11, architecture).eval()
    u = np.random.default_rng(0).standard_normal((20, 11)).astype(np.float32)
    ours = reconstruct(network_of(architecture, module, 11), u)
    np.testing.assert_allclose(ours, module(torch.from_numpy(u)).detach(), rtol=1e-4, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from([((), "relu"), ((20,), "relu"), ((31, 17), "leaky_relu"), ((16, 64), "relu")]),
    st.integers(1, 8),
    st.integers(0, 5),
)
def test_a_network_of_relu_pairs_starts_as_pca(
    shape: tuple[tuple[int, ...], str], latent: int, seed: int
) -> None:
    u = correlated_dies(300, 24, 9, seed)
    architecture = Architecture(shape[0], latent, shape[1])  # type: ignore[arg-type]
    module = build_module(24, architecture)
    assert can_start_as_pca(24, architecture)
    start_as_pca(module, architecture, torch.from_numpy(u))
    pca = PCA(latent).fit(u)
    expected = pca.inverse_transform(pca.transform(u))
    np.testing.assert_allclose(module(torch.from_numpy(u)).detach(), expected, atol=2e-4)


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture((20, 9), 5),  # nine units are four pairs, the code needs five
        Architecture((20,), 5, "tanh"),
        Architecture((), 30),
    ],
)
def test_networks_without_room_for_pairs_do_not_start_as_pca(architecture: Architecture) -> None:
    assert not can_start_as_pca(24, architecture)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"hidden": (8, 0), "latent": 2}, "widths"),
        ({"hidden": (8,), "latent": 0}, "latent"),
        ({"hidden": (8,), "latent": 2, "activation": "swish"}, "swish"),
        ({"hidden": (8,), "latent": 2, "dropout": 1.0}, "dropout"),
    ],
)
def test_a_shape_that_makes_no_sense_is_refused(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Architecture(**arguments)  # type: ignore[arg-type]
