"""Thresholds: quantiles of the scores of held-out good dies, with what those dies can say.

The threshold at a yield loss is the split-conformal quantile, the ⌈(n+1)(1−fpr)⌉-th smallest
score: a further good die of the same process exceeds it with a probability of at most the yield
loss (Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World*, 2005). It lies a hair
above that score, and below the next, so that the die's verdict does not hang on its last bits, in
which the engines differ. Where n dies are too few for that rank, the tail above their 90 %
quantile is taken as exponential and extended.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._network import MIN_EXCEEDANCES, OPERATING_POINTS, OperatingPoint

Float64 = NDArray[np.float64]
MIN_SCORES = 20
"""Below this even the start of the tail, the 90 % quantile, rests on a die or two."""
TAIL_SHARE = 0.1
ROUNDING = 2e-5
"""What fp32 engines may differ by in a score, relative."""
CONFIDENCE = 0.95
Z_TWO_SIDED = 1.959964
"""Quantile of the Gaussian for ``CONFIDENCE``, both sides."""


def fit_operating_points(
    scores: NDArray[np.float32], fprs: Sequence[float] = OPERATING_POINTS
) -> tuple[OperatingPoint, ...]:
    """Thresholds at each yield loss.

    Unscored dies (NaN) take no part; ``n_dies`` counts those that do. ``low`` and ``high`` are
    order statistics that enclose the true quantile with 95 % confidence whatever the distribution
    (exact binomial); where no order statistic is high enough the fitted tail gives ``high``.

    Args:
        scores: float32 ``(n,)`` of held-out good dies.
        fprs: yield losses, each above 0 and below 1.

    Raises:
        NotEnoughDataError: fewer than ``MIN_SCORES`` dies are scored.
        UsageError: a yield loss is not between 0 and 1.
    """
    for fpr in fprs:
        if not 0 < fpr < 1:
            raise UsageError(f"a yield loss lies between 0 and 1, found {fpr!r}")
    ordered = _ordered(scores)
    return tuple(_operating_point(ordered, fpr) for fpr in fprs)


def conformal_thresholds(scores: NDArray[np.float32], fprs: Sequence[float]) -> Float64:
    """Only the thresholds of ``fit_operating_points``, float64 ``(len(fprs),)``."""
    ordered = _ordered(scores)
    return np.array([_threshold(ordered, fpr) for fpr in fprs])


def _ordered(scores: NDArray[np.float32]) -> Float64:
    ordered = np.sort(scores[np.isfinite(scores)].astype(np.float64))
    if len(ordered) < MIN_SCORES:
        raise NotEnoughDataError(
            f"thresholds need the scores of at least {MIN_SCORES} held-out good dies, found "
            f"{len(ordered)} scored of {len(scores)}"
        )
    return ordered


def _operating_point(ordered: Float64, fpr: float) -> OperatingPoint:
    n = len(ordered)
    threshold = _threshold(ordered, fpr)
    low, high = _interval(ordered, fpr, threshold)
    supported = n * fpr >= MIN_EXCEEDANCES * (1 - 1e-9)
    return OperatingPoint(fpr, threshold, low, high, n, supported)


def _threshold(ordered: Float64, fpr: float) -> float:
    n = len(ordered)
    rank = math.ceil((n + 1) * (1 - fpr) - 1e-9)  # 1 − fpr is inexact: 0.98 · 500 must stay 490
    if rank < n:
        return _just_above(ordered[rank - 1], ordered[rank])
    if rank == n:
        return _float32_not_below(ordered[-1])
    return _float32_not_below(max(ordered[-1], _tail_quantile(ordered, fpr)))


def _tail_quantile(ordered: Float64, fpr: float, stretch: float = 1.0) -> float:
    """Quantile of an exponential tail above the 90 % quantile; ``stretch`` scales its mean."""
    start, mean_excess = _tail(ordered)
    return start + stretch * mean_excess * math.log(TAIL_SHARE / fpr)


def _tail(ordered: Float64) -> tuple[float, float]:
    """Where the tail starts, and the mean of what exceeds it."""
    start = float(np.quantile(ordered, 1 - TAIL_SHARE))
    mean_excess = float((ordered[ordered > start] - start).mean()) if ordered[-1] > start else 0.0
    return start, mean_excess


def _interval(ordered: Float64, fpr: float, threshold: float) -> tuple[float, float]:
    n = len(ordered)
    below = _binomial_cdf(n, 1 - fpr)  # below[i] = P(at most i of n lie below the true quantile)
    outside = (1 - CONFIDENCE) / 2
    first = int(np.searchsorted(below, outside, side="right"))  # P(fewer than `first`) ≤ 2.5 %
    last = 1 + int(np.searchsorted(below, 1 - outside, side="left"))
    low = float(ordered[max(first, 1) - 1])
    if last <= n:
        return low, _float32_not_below(ordered[last - 1])
    return low, max(threshold, _float32_not_below(_above_all(ordered, fpr)))


def _above_all(ordered: Float64, fpr: float) -> float:
    """An upper bound of a quantile beyond what order statistics enclose, by the fitted tail.

    The larger of two: the tail with its mean at the upper end of its uncertainty, and the largest
    score raised by as much as an exponential tail's largest of n may lie below the quantile.
    """
    n = len(ordered)
    stretch = 1 + Z_TWO_SIDED / math.sqrt(max(1.0, TAIL_SHARE * n))
    _, mean_excess = _tail(ordered)
    shortfall = -math.log(n * fpr) + math.log(-math.log((1 - CONFIDENCE) / 2))
    raised = float(ordered[-1]) + stretch * mean_excess * max(0.0, shortfall)
    return max(raised, _tail_quantile(ordered, fpr, stretch))


def _binomial_cdf(n: int, p: float) -> Float64:
    """P(X ≤ i) for i = 0 … n−1, X binomial with n trials of probability p."""
    i = np.arange(n)
    log_ratio = np.log(n - i) - np.log(i + 1) + math.log(p) - math.log1p(-p)
    log_pmf = n * math.log1p(-p) + np.concatenate([[0.0], np.cumsum(log_ratio)[:-1]])
    cdf: Float64 = np.cumsum(np.exp(log_pmf))
    return cdf


def _just_above(score: float, following: float) -> float:
    """A float32 from ``score`` to below ``following``, at most ``ROUNDING`` above ``score``."""
    margin = min((following - score) / 2, ROUNDING * abs(score))
    above = float(np.float32(score + margin))
    return above if score <= above < following else _float32_not_below(score)


def _float32_not_below(score: float) -> float:
    """The smallest float32 that is not below: a die with this very score passes."""
    rounded = np.float32(score)
    if rounded < score:
        rounded = np.nextafter(rounded, np.float32(np.inf))
    return float(rounded)
