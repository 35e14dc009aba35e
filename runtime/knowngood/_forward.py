"""A network's scores in plain NumPy: for calibration, baselines and as an oracle in tests.

Sums run in the precision asked for; float64 says what a score should be, float32 costs less.
The engines compute the same thing from a model file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._network import MAX_STANDARDISED, FloatArray, Head, LowRank, Network
from ._verdicts import UNSCORED_SCORE


@dataclass(frozen=True)
class Forward:
    """One pass over dies.

    Attributes:
        scores: float32 ``(n_dies,)``; the quiet NaN where a die cannot be scored.
        standardised: float32 ``(n_dies, n_tests)``, 0 where the test is missing.
        reconstruction: float32 ``(n_dies, n_tests)``, standardised.
        present: bool ``(n_dies, n_tests)``.
    """

    scores: NDArray[np.float32]
    standardised: NDArray[np.float32]
    reconstruction: NDArray[np.float32]
    present: NDArray[np.bool_]


def forward(
    network: Network,
    values: NDArray[np.float32],
    group: NDArray[np.int32] | None = None,
    *,
    dtype: type[np.floating[Any]] = np.float64,
) -> Forward:
    """Score ``values``, float32 ``(n_dies, n_tests)`` in raw units, NaN where a test is missing."""
    scaler = network.screen.scaler
    u = scaler.standardise(values, scaler.rows(group, len(values)))
    present = ~np.isnan(u)
    with np.errstate(invalid="ignore", over="ignore"):
        u = np.where(present, u, np.float32(0))
        y = reconstruct(network, u, dtype=dtype)
        scores = score_residual(network.screen.head, u - y, present, dtype=dtype)
        in_range = (np.abs(u) <= MAX_STANDARDISED).all(axis=1)
    scores = np.where(in_range & np.isfinite(scores), scores, UNSCORED_SCORE)
    return Forward(scores.astype(np.float32), u, y.astype(np.float32), present)


def reconstruct(
    network: Network, u: NDArray[np.float32], *, dtype: type[np.floating[Any]] = np.float64
) -> FloatArray:
    """y ``(n_dies, n_tests)`` for standardised u, missing tests given as 0."""
    if not network.layers:
        return np.zeros(u.shape, dtype=dtype)
    y: FloatArray = u.astype(dtype)
    for layer in network.layers:
        weight, bias = layer.weight.astype(dtype), layer.bias.astype(dtype)
        y = layer.activation.apply(y @ weight.T + bias)
    return y


def score_residual(
    head: Head,
    residual: FloatArray,
    present: NDArray[np.bool_],
    *,
    dtype: type[np.floating[Any]] = np.float64,
) -> NDArray[np.float32]:
    """Scores float32 ``(n_dies,)`` of residuals ``(n_dies, n_tests)``; NaN below min_present."""
    z = weigh(head, residual.astype(dtype), present)
    n_present = present.sum(axis=1)
    scores = _topk(head, z, n_present) if head.kind == "topk" else _mean_square(head, z, present)
    return np.where(n_present >= head.min_present, scores, UNSCORED_SCORE).astype(np.float32)


def weigh(head: Head, residual: FloatArray, present: NDArray[np.bool_]) -> FloatArray:
    """The residuals that the head scores, 0 where a test is missing: weighted, and whitened by
    ``mahalanobis``; in the precision of ``residual``, all ``(n_dies, n_tests)``."""
    weight = head.residual_weight.astype(residual.dtype)
    z: FloatArray = np.where(present, residual * weight, 0)
    return z if head.low_rank is None else _whitened(head.low_rank, z, present)


def _whitened(low_rank: LowRank, z: FloatArray, present: NDArray[np.bool_]) -> FloatArray:
    project, subtract = (a.astype(z.dtype) for a in (low_rank.project, low_rank.subtract))
    whitened: FloatArray = np.where(present, z - (z @ project.T) @ subtract.T, 0)
    return whitened


def _mean_square(head: Head, z: FloatArray, present: NDArray[np.bool_]) -> FloatArray:
    expected = present.astype(z.dtype) @ head.expected_square.astype(z.dtype)
    mean_expected = head.expected_square.astype(np.float64).mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        scores: FloatArray = (z * z).sum(axis=1) * mean_expected / expected
    return scores


def _topk(head: Head, z: FloatArray, n_present: NDArray[np.intp]) -> FloatArray:
    k = min(head.k, z.shape[1])
    magnitude = np.abs(z)
    largest = np.partition(magnitude, -k, axis=1)[:, -k:]
    scaled: FloatArray = largest.sum(axis=1) * head.present_gain[n_present]
    return scaled + head.present_offset[n_present]
