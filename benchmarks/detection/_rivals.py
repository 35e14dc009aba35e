"""Outlier detectors from elsewhere, each fitted on standardised good dies and scoring such dies.

They are given robust z-scores with 0 where a test is missing, as the autoencoder's first layer is;
what is odd scores high. Of many training dies they are given the sample that is kept with a model,
8,192 at most: the nearest neighbours of more take long to find.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


class Rival(Protocol):
    """Fitted on good dies when it is made.

    Attributes:
        name, version: what it is, and of which package.
    """

    name: str
    version: str

    def score(self, u: Float32) -> Float64:
        """Of standardised dies ``(n_dies, n_tests)``, float64 ``(n_dies,)``."""
        ...


class Forest:
    """Isolation forest (Liu, Ting and Zhou 2008), scikit-learn's, with 200 trees."""

    name = "isolation forest"
    version = f"scikit-learn {sklearn.__version__}"

    def __init__(self, u: Float32, seed: int) -> None:
        self._forest = IsolationForest(n_estimators=200, random_state=seed).fit(u)

    def score(self, u: Float32) -> Float64:
        return -np.asarray(self._forest.score_samples(u), dtype=np.float64)


class Neighbours:
    """Distance to the fifth nearest good die (Ramaswamy, Rastogi and Shim 2000)."""

    name = "kNN"
    version = f"scikit-learn {sklearn.__version__}"
    k = 5

    def __init__(self, u: Float32) -> None:
        self._index = NearestNeighbors(n_neighbors=self.k, algorithm="brute").fit(u)

    def score(self, u: Float32) -> Float64:
        distance, _ = self._index.kneighbors(u)
        return np.asarray(distance[:, -1], dtype=np.float64)


class Ecod:
    """ECOD (Li, Zhao, Hu, Botta, Ionescu and Chen 2022), from the paper's definition.

    Tail probabilities of each test come from the empirical distribution of the good dies with the
    die itself among them. A die's score is the largest of three sums of −log p over the tests: of
    the left tails, of the right ones, and of the tail on each test's longer side.
    """

    name = "ECOD"
    version = "from its paper"

    def __init__(self, u: Float32) -> None:
        good = u.astype(np.float64)
        self._ordered = np.sort(good, axis=0)
        self._left_is_longer = ((good - good.mean(axis=0)) ** 3).mean(axis=0) < 0

    def score(self, u: Float32) -> Float64:
        left, right = np.empty(u.shape), np.empty(u.shape)
        n = len(self._ordered)
        for test, ordered in enumerate(self._ordered.T):
            values = u[:, test].astype(np.float64)
            not_above = np.searchsorted(ordered, values, side="right")
            below = np.searchsorted(ordered, values, side="left")
            left[:, test] = -np.log((not_above + 1) / (n + 1))
            right[:, test] = -np.log((n - below + 1) / (n + 1))
        longer = np.where(self._left_is_longer, left, right)
        sums: Float64 = np.max([tail.sum(axis=1) for tail in (left, right, longer)], axis=0)
        return sums


def fit_rivals(u: Float32, seed: int) -> tuple[Rival, ...]:
    """All of them, on good dies float32 ``(n_dies, n_tests)``."""
    return (Forest(u, seed), Neighbours(u), Ecod(u))
