"""Good dies whose tests share a few factors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

N_TESTS = 20
N_FACTORS = 3


def correlated(n_dies: int, seed: int) -> NDArray[np.float32]:
    """float32 ``(n_dies, N_TESTS)``."""
    rng = np.random.default_rng(seed)
    loading = np.random.default_rng(0).normal(size=(N_FACTORS, N_TESTS))
    shared = rng.normal(size=(n_dies, N_FACTORS)) @ loading
    return (shared + 0.2 * rng.normal(size=shared.shape)).astype(np.float32)
