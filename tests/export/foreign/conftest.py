"""Foreign files that tests make, and what the layers read from one compute."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def apply_layers():
    def apply(network, x):
        y = x.astype(np.float64)
        for layer in network.layers:
            y = layer.activation.apply(y @ layer.weight.T.astype(np.float64) + layer.bias)
        return y

    return apply


@pytest.fixture(scope="session")
def assert_same_as_runtime(apply_layers):
    """Layers against ONNX Runtime or LiteRT on random dies, within float32 rounding."""
    from knowngood_export.foreign import run_in_own_runtime

    def check(network, tolerance=1e-5):
        x = np.random.default_rng(0).normal(size=(20, network.n_tests)).astype(np.float32)
        own = run_in_own_runtime(network, x)
        largest = max(1.0, float(np.abs(own).max()))
        np.testing.assert_allclose(apply_layers(network, x), own, rtol=0, atol=tolerance * largest)

    return check
