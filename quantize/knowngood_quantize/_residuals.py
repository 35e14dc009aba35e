"""What a network leaves of dies: the residuals that heads are learnt from and score."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from knowngood._forward import reconstruct
from knowngood._network import Network


class Residuals(NamedTuple):
    """Dies as a head sees them.

    Attributes:
        u: float32 ``(n_dies, n_tests)``, standardised, 0 where a test is missing.
        residual: float32 ``(n_dies, n_tests)``, u less its reconstruction.
        present: bool ``(n_dies, n_tests)``.
    """

    u: NDArray[np.float32]
    residual: NDArray[np.float32]
    present: NDArray[np.bool_]

    def select(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Residuals:
        """Some of the dies."""
        return Residuals(self.u[rows], self.residual[rows], self.present[rows])


def residuals_of(
    network: Network, values: NDArray[np.float32], group: NDArray[np.int32] | None
) -> Residuals:
    """Of dies float32 ``(n_dies, n_tests)`` in raw units, NaN where a test is missing."""
    scaler = network.screen.scaler
    u = scaler.standardise(values, scaler.rows(group, len(values)))
    present = np.isfinite(u)
    return reconstructed(network, np.where(present, u, np.float32(0)), present)


def reconstructed(
    network: Network, u: NDArray[np.float32], present: NDArray[np.bool_]
) -> Residuals:
    """Of standardised dies, 0 where a test is missing."""
    residual = u - reconstruct(network, u, dtype=np.float32)
    return Residuals(u, residual.astype(np.float32), present)
