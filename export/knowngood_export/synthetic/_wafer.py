"""Round wafers: which grid positions hold dies, and in which order they are probed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class WaferMap:
    """Dies of a wafer in probing order: row by row, every other row backwards.

    Attributes:
        x, y: int32 ``(n_dies,)``, from 1.
        position: float64 ``(n_dies, 2)``, x and y in wafer radii from the centre.
    """

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    position: NDArray[np.float64]


def die_positions(n_dies: int) -> WaferMap:
    """The ``n_dies`` grid positions nearest to the centre: a disc without holes."""
    half = int(np.ceil(np.sqrt(n_dies / np.pi))) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1].reshape(2, -1)
    nearest = np.argsort(x**2 + y**2, kind="stable")[:n_dies]
    x, y = x[nearest], y[nearest]
    radius = max(1.0, float(np.sqrt(x**2 + y**2).max()))
    y_row = y - y.min()
    probing = np.lexsort((np.where(y_row % 2, -x, x), y))
    x, y = x[probing], y[probing]
    return WaferMap(
        x=(x - x.min() + 1).astype(np.int32),
        y=(y - y.min() + 1).astype(np.int32),
        position=np.column_stack([x, y]) / radius,
    )
