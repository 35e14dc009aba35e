"""Contestants of the comparison of scores: whatever turns raw values into them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import knowngood
from knowngood._forward import forward
from knowngood._network import Network, Screen

Float32 = NDArray[np.float32]
DIES_PER_BLOCK = 1000


class Contestant(Protocol):
    """One way to score with one model.

    Attributes:
        name: "onnxruntime int8", …
        form: "fp32", "int8" or "rival"; says how close its scores must be.
        version: of the package that does the arithmetic.
        thresholds: by nominal yield loss.
    """

    name: str
    form: str
    version: str
    thresholds: dict[float, float]

    def score(self, values: Float32) -> Float32:
        """Scores, float32 ``(n,)``, of raw values ``(n, n_tests)``; NaN where there is none."""
        ...


def thresholds_of(screen: Screen) -> dict[float, float]:
    """Thresholds by nominal yield loss, supported or not."""
    return {p.fpr: p.threshold for p in screen.operating_points}


def in_blocks(score: Callable[[Float32], Float32], values: Float32) -> Float32:
    """Scores of many dies, a block at a time."""
    blocks = (values[i : i + DIES_PER_BLOCK] for i in range(0, len(values), DIES_PER_BLOCK))
    return np.concatenate([np.empty(0, np.float32), *(score(b) for b in blocks)])


class NumPyForward:
    """The plain NumPy pass in float32."""

    name = "numpy fp32"
    form = "fp32"
    version = np.__version__

    def __init__(self, network: Network) -> None:
        self._network = network
        self.thresholds = thresholds_of(network.screen)

    def score(self, values: Float32) -> Float32:
        return in_blocks(self._score, values)

    def _score(self, values: Float32) -> Float32:
        return forward(self._network, values, dtype=np.float32).scores


class LoadedModel:
    """An exported file through ``knowngood.load(...).score``."""

    def __init__(self, path: Path, engine: str) -> None:
        self._scorer = knowngood.load(path, engine=engine, extrapolate=True)
        self.form = self._scorer.precision
        self.name = f"{engine} {self.form}"
        self.version = self._scorer.engine_version
        self.thresholds = thresholds_of(self._scorer.screen)

    def score(self, values: Float32) -> Float32:
        return self._scorer.score(values).scores
