"""The upper tail of scores: peaks over a threshold, for yield losses that dies alone cannot show.

What exceeds a high quantile u follows a generalised Pareto distribution, the more nearly the
higher u is (Pickands, Annals of Statistics 3, 1975). Shape and scale are weighed by their
likelihood on a grid. Few exceedances leave the shape open, and it rules what is extrapolated: a
Gaussian prior about 0, the exponential tail, counts as some 25 further exceedances (after Coles
and Dixon, Extremes 2, 1999). A threshold is a quantile of the predictive distribution, the average
over that grid: on average over sets of dies it loses what it says, while the likeliest shape and
scale alone would lose more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

TAIL_SHARE = 0.1
"""Of the dies, where the tail starts; with many dies it starts further out."""
MOST_EXCEEDANCES = 500
SHAPE_SIGMA = 0.2
LARGEST_SHAPE = 0.5
_SHAPES: Float64 = np.linspace(-LARGEST_SHAPE, LARGEST_SHAPE, 50)
"""Their number is even: 0, by which formulas divide, is not among them."""
_SIGMAS: Float64 = np.linspace(-3.5, 3.5, 13)
"""Scales looked at, about the likeliest of each shape, in standard errors of their logarithm."""
_BISECTIONS = 60


class _Grid(NamedTuple):
    """Pairs of shape and scale and how likely each is; float64 ``(n_pairs,)``, weights sum to 1."""

    shape: Float64
    scale: Float64
    weight: Float64


@dataclass(frozen=True, eq=False)
class Tail:
    """A tail in which a score exceeds u + x with probability share · (1 + ξ x / σ)^(−1 / ξ).

    Attributes:
        start: u, in units of the score.
        share: of the dies that lie above it.
        excess: float64 ``(n_exceedances,)``, by how much they do, each above 0.
    """

    start: float
    share: float
    excess: Float64

    @classmethod
    def of(cls, ordered: Float64) -> Tail:
        """The tail of scores, float64 ``(n,)`` ascending."""
        share = min(TAIL_SHARE, MOST_EXCEEDANCES / len(ordered))
        start = float(np.quantile(ordered, 1 - share))
        excess = ordered[ordered > start] - start
        return cls(start, len(excess) / len(ordered), excess)

    def quantile(self, share: float) -> float:
        """The score that a further die exceeds with probability ``share``, at most ``self.share``;
        the start itself if no score exceeds it."""
        if not len(self.excess):
            return self.start
        shape, scale, weight = self._grid

        def too_low(x: float) -> bool:
            beyond = np.maximum(1 + shape * x / scale, 0.0) ** (-1 / shape)
            return bool(self.share * float(weight @ beyond) > share)

        return self.start + _turning_point(too_low, float(self.excess.mean()))

    def interval(self, share: float, outside: float, inflation: float = 1.0) -> tuple[float, float]:
        """Where the score lies that ``share`` of all dies exceed.

        Args:
            share: at most ``self.share``.
            outside: probability that it lies below, and that it lies above.
            inflation: dies count as independent ones that are so many times fewer.
        """
        if not len(self.excess):
            return self.start, self.start
        shape, scale, weight = _weigh(self.excess, inflation)
        x = scale * np.expm1(shape * np.log(self.share / share)) / shape
        order = np.argsort(x)
        low, high = np.interp([outside, 1 - outside], np.cumsum(weight[order]), x[order])
        return self.start + float(low), self.start + float(high)

    @cached_property
    def _grid(self) -> _Grid:
        return _weigh(self.excess, 1.0)


def _weigh(excess: Float64, inflation: float) -> _Grid:
    """Shapes and scales by likelihood and prior; the logarithm of the scale has a flat one."""
    n = len(excess) / inflation
    spread = np.sqrt((1 + 2 * np.maximum(_SHAPES, 0)) / n)
    scale = np.exp(np.log(_best_scales(excess)) + _SIGMAS[:, np.newaxis] * spread)
    shape = np.broadcast_to(_SHAPES, scale.shape).ravel()
    spread, scale = np.broadcast_to(spread, scale.shape).ravel(), scale.ravel()
    log_weight = _log_likelihood(excess, shape, scale) / inflation
    log_weight += np.log(spread) - (shape / SHAPE_SIGMA) ** 2 / 2
    weight = np.exp(log_weight - log_weight.max())
    return _Grid(shape, scale, weight / weight.sum())


def _best_scales(excess: Float64) -> Float64:
    """The likeliest scale of each shape, where the mean of (1 + ξ) x / (σ + ξ x) is 1.

    That mean falls as σ grows, from more than 1 at the least σ that allows every excess.
    """
    shape = _SHAPES[:, np.newaxis]
    low = np.maximum(-_SHAPES * excess.max(), 0.0) + 1e-9 * excess.mean()
    high = low + 4 * excess.max()
    for _ in range(_BISECTIONS // 2):
        middle = (low + high) / 2
        score = ((1 + shape) * excess / (middle[:, np.newaxis] + shape * excess)).mean(axis=1)
        low, high = np.where(score > 1, middle, low), np.where(score > 1, high, middle)
    return np.asarray((low + high) / 2)


def _log_likelihood(excess: Float64, shape: Float64, scale: Float64) -> Float64:
    """Of each pair, float64 ``(n_pairs,)``; −inf where an excess is impossible."""
    inside = 1 + (shape / scale)[:, np.newaxis] * excess
    possible = inside.min(axis=1) > 0
    logs = np.log(np.where(inside > 0, inside, 1.0)).sum(axis=1)
    likelihood = -len(excess) * np.log(scale) - (1 + 1 / shape) * logs
    return np.where(possible, likelihood, -np.inf)


def _turning_point(too_low: Callable[[float], bool], first: float) -> float:
    """The least x above 0 that is not too low, where every smaller one is."""
    low, high = 0.0, first
    while too_low(high):
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if too_low(middle) else (low, middle)
    return high
