"""An engine that is not the one it says it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from knowngood.engines import Engine

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class AlteredEngine:
    """Gives another engine's scores as ``alter`` makes them."""

    inner: Engine
    alter: Callable[[Scores], Scores]
    name: str = "reference"
    version: str = "0"

    def score(self, values: NDArray[np.float32], rows: NDArray[np.int32] | None) -> Scores:
        return self.alter(self.inner.score(values, rows))

    def reconstruct(
        self, values: NDArray[np.float32], rows: NDArray[np.int32] | None
    ) -> NDArray[np.float32]:
        return self.inner.reconstruct(values, rows)

    def at(self, fpr: float) -> AlteredEngine:
        return replace(self, inner=self.inner.at(fpr))


def off_by_one_bit(scores: Scores) -> Scores:
    """An error in the last bit."""
    return np.nextafter(scores, np.float32(np.inf))


def flushing_subnormals(scores: Scores) -> Scores:
    """What a host that has set flush-to-zero makes of them."""
    return np.where(np.abs(scores) < np.finfo(np.float32).tiny, np.float32(0), scores)
