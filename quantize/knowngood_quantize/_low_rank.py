"""The directions that residuals of good dies share, which `mahalanobis` takes off.

Weighted residuals z of good dies, each test over its root mean square s, get the covariance model

    Σ = noise · I + Σ_k (λ_k − noise) v_k v_kᵀ

of low rank plus diagonal, with few axes v_k. Under it the whitened die √noise · Σ^(−1/2) (z / s) is
z / s less the share 1 − √(noise / λ_k) of its part along each axis; times s it is z′, in z's units.

The axes are eigenvectors of the correlation, shrunk as by Ledoit and Wolf (2004). Kept are those
whose eigenvalue is larger than any that noise alone would give: the fewer the dies, the fewer the
axes, down to none, which leaves the head `normalized`. No share leaves the range 0 to 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from knowngood._network import LowRank

Float64 = NDArray[np.float64]

MAX_RANK = 64
DIES_PER_AXIS = 4
"""An axis must rest on so many dies."""
TESTS_PER_AXIS = 2
"""Half of the directions at least stay to tell the noise from."""
NOISE_QUANTILE = 2.02
"""99 % of the Tracy–Widom law of order 1."""
LONGEST_DIE = 1.5
"""A die counts up to so many times the median whitened length: one odd die makes no axis."""
PASSES = 3
"""Lengths are whitened by the axes of the pass before."""
RANK_TOLERANCE = 1e-10


class _Axes(NamedTuple):
    """Eigenvalues, descending, and unit eigenvectors in the columns of ``(n_tests, n_axes)``."""

    eigenvalues: Float64
    vectors: Float64


class _Shared(NamedTuple):
    """Axes in the columns of ``(n_tests, rank)``, and the share of each that is taken off."""

    vectors: Float64
    share: Float64

    def taken_off(self, dies: Float64) -> Float64:
        """``(n_dies, n_tests)``, whitened."""
        whitened: Float64 = dies - (dies @ self.vectors * self.share) @ self.vectors.T
        return whitened


def fit_low_rank(
    z: NDArray[np.float32], present: NDArray[np.bool_], largest: NDArray[np.float64]
) -> LowRank:
    """The shared directions of good dies' residuals; one row of zeros where there are none.

    Tests seldom present together count as less correlated than they are.

    Args:
        z: float32 ``(n_dies, n_tests)``, weighted residuals.
        present: bool ``(n_dies, n_tests)``; residuals of missing tests are not looked at.
        largest: float64 ``(n_tests,)``; |z| counts up to here.
    """
    n_tests = z.shape[1]
    cut = np.where(present, np.clip(z.astype(np.float64), -largest, largest), 0)
    square = np.square(cut).sum(axis=0)
    rms = np.sqrt(np.where(square > 0, square / np.maximum(present.sum(axis=0), 1), 1))[:, None]
    shared = _shared_directions(cut[cut.any(axis=1)])
    if not len(shared.share):
        return LowRank(np.zeros((1, n_tests), np.float32), np.zeros((n_tests, 1), np.float32))
    project, subtract = (shared.vectors / rms).T, shared.vectors * rms * shared.share
    return LowRank(project.astype(np.float32), subtract.astype(np.float32))


def _shared_directions(dies: Float64) -> _Shared:
    n_dies, n_tests = dies.shape
    shared = _Shared(np.empty((n_tests, 0)), np.empty(0))
    if n_dies == 0:
        return shared
    square = np.square(dies).mean(axis=0)
    dies = dies / np.sqrt(np.where(square > 0, square, 1))
    for _ in range(PASSES):
        length = np.sqrt(np.square(shared.taken_off(dies)).sum(axis=1))
        longest = LONGEST_DIE * float(np.median(length))
        weight = longest / np.maximum(length, longest) if longest > 0 else np.ones(n_dies)
        shared = _decompose(dies * weight[:, np.newaxis])
    return shared


def _decompose(dies: Float64) -> _Shared:
    axes = _principal_axes(dies)
    rank = _rank(axes.eigenvalues, *dies.shape)
    shrunk = _shrunk(axes.eigenvalues, dies)
    noise = _noise(shrunk, rank, dies.shape[1])
    return _Shared(axes.vectors[:, :rank], 1 - np.sqrt(noise / shrunk[:rank]))


def _principal_axes(dies: Float64) -> _Axes:
    """Of the second moment ``diesᵀ dies / n_dies``, from the smaller of it and ``dies diesᵀ``."""
    n_dies, n_tests = dies.shape
    if n_tests <= n_dies:
        eigenvalues, vectors = np.linalg.eigh(dies.T @ dies / n_dies)
        return _Axes(np.maximum(eigenvalues[::-1], 0), vectors[:, ::-1])
    eigenvalues, left = np.linalg.eigh(dies @ dies.T / n_dies)
    kept = eigenvalues > RANK_TOLERANCE * eigenvalues[-1]
    eigenvalues, left = eigenvalues[kept][::-1], left[:, kept][:, ::-1]
    return _Axes(eigenvalues, dies.T @ left / np.sqrt(n_dies * eigenvalues))


def _rank(eigenvalues: Float64, n_dies: int, n_tests: int) -> int:
    edge = _largest_of_noise(n_dies, n_tests)
    largest = min(MAX_RANK, n_dies // DIES_PER_AXIS, n_tests // TESTS_PER_AXIS, len(eigenvalues))
    for rank in range(largest):
        if not eigenvalues[rank] > edge * _noise(eigenvalues, rank, n_tests):
            return rank
    return largest


def _largest_of_noise(n_dies: int, n_tests: int) -> float:
    """What the largest eigenvalue of unit noise exceeds once in a hundred (Johnstone 2001)."""
    dies, tests = math.sqrt(max(1, n_dies - 1)), math.sqrt(n_tests)
    spread = (dies + tests) * math.pow(1 / dies + 1 / tests, 1 / 3)
    return ((dies + tests) ** 2 + NOISE_QUANTILE * spread) / n_dies


def _noise(eigenvalues: Float64, rank: int, n_tests: int) -> float:
    """Mean of all eigenvalues after the first ``rank``, of which those not given are 0."""
    return max(0.0, float(eigenvalues[rank:].sum())) / (n_tests - rank)


def _shrunk(eigenvalues: Float64, dies: Float64) -> Float64:
    """All ``n_tests`` eigenvalues of Ledoit and Wolf's mixture with a multiple of I."""
    n_dies, n_tests = dies.shape
    full = np.zeros(n_tests)
    full[: len(eigenvalues)] = eigenvalues
    squared = float(np.square(full).sum())
    variance = (float(np.square(np.square(dies).sum(axis=1)).mean()) - squared) / n_dies
    distance = squared - float(full.sum()) ** 2 / n_tests
    shrinkage = float(np.clip(variance / distance, 0, 1)) if distance > 0 else 1.0
    mixed: Float64 = (1 - shrinkage) * full + shrinkage * full.mean()
    return mixed
