"""A share with what its dies can say about it: the exact binomial interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

BISECTIONS = 60
"""Halvings of [0, 1]: finer than the spacing of float64 at the shares that matter."""
REACH = 6.0
"""Standard deviations of a count; no tail that an interval is made of lies so far out."""


@dataclass(frozen=True)
class Rate:
    """``k`` of ``n`` dies, with the 95 % Clopper–Pearson interval of the underlying share.

    Attributes:
        share: k / n; NaN without dies.
        low, high: the interval; 0 and 1 without dies.
    """

    k: int
    n: int
    share: float
    low: float
    high: float

    @classmethod
    def of(cls, k: int, n: int) -> Rate:
        """The rate of ``k`` dies among ``n``."""
        low, high = binomial_interval(k, n)
        return cls(k, n, k / n if n else float("nan"), low, high)

    def compared_with(self, nominal: float) -> str:
        """``above``, ``below`` or ``as expected``, by whether the interval holds ``nominal``."""
        if self.low > nominal:
            return "above"
        return "below" if self.high < nominal else "as expected"


def binomial_interval(k: int, n: int, *, coverage: float = 0.95) -> tuple[float, float]:
    """Clopper–Pearson interval of a share when ``k`` of ``n`` were counted.

    Source: Clopper and Pearson, Biometrika 26 (1934): low solves P(X ≥ k) = α/2, high solves
    P(X ≤ k) = α/2.
    """
    if n == 0:
        return 0.0, 1.0
    if 2 * k > n:
        low, high = binomial_interval(n - k, n, coverage=coverage)
        return 1.0 - high, 1.0 - low
    tail = (1.0 - coverage) / 2.0
    low = 0.0 if k == 0 else _share_where_at_most(k - 1, n, 1.0 - tail)
    return low, _share_where_at_most(k, n, tail)


def _share_where_at_most(k: int, n: int, probability: float) -> float:
    """The share p at which P(X ≤ k) = ``probability`` for X binomial(n, p); falls with p.

    It lies within ``REACH`` standard deviations of k / n; of so many more below k, terms add
    nothing there.
    """
    deviation = REACH * math.sqrt(k + 1)
    first = max(0, math.floor(k - 3 * deviation))
    counts = np.arange(first, k + 1, dtype=np.float64)
    log_choices = np.concatenate([[_log_choices(n, first)], np.log((n - counts[:-1]) / counts[1:])])
    log_choices = np.cumsum(log_choices)
    low, high = max(0.0, (k - deviation) / n), 1.0
    for _ in range(BISECTIONS):
        p = 0.5 * (low + high)
        log_terms = log_choices + counts * np.log(p) + (n - counts) * np.log1p(-p)
        if np.exp(log_terms).sum() > probability:
            low = p
        else:
            high = p
    return 0.5 * (low + high)


def _log_choices(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
