"""What the spread between lots does to a yield loss and to what dies can say about it.

Dies of a lot share what the lot went through. A quantile of a few lots' dies is exceeded more often
by a lot it has not seen than by these, and a thousand dies of three lots say no more than a handful
of independent ones. Both are measured on the lots at hand, leaving one out at a time for the first,
comparing them for the second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

FEWEST_LOTS = 3
"""With fewer, what one lot leaves for the others is a single lot or none."""
MOST_BUNDLES = 50
"""More lots than this are bundled, so that time and memory stay in proportion to the dies."""
LARGEST_CORRECTION = 1.5
SMALLEST_CORRECTION = 0.05
_BISECTIONS = 24
_GRID = 8001


@dataclass(frozen=True, eq=False)
class LotScores:
    """Scores of dies with their lots.

    Attributes:
        of_lot: float64 ``(n_dies of the lot,)`` each, ascending; no lot is empty.
        of_others: float64, the scores of all other lots, ascending, for each lot.
    """

    of_lot: tuple[Float64, ...]
    of_others: tuple[Float64, ...]

    @classmethod
    def of(cls, scores: Float64, lot: NDArray[np.integer]) -> LotScores:
        """Group scores ``(n,)``, all finite, by lot ``(n,)``; many lots by several together."""
        lots, number = np.unique(lot, return_inverse=True)
        bundle = number % MOST_BUNDLES
        bundles = range(min(len(lots), MOST_BUNDLES))
        return cls(
            tuple(np.sort(scores[bundle == one]) for one in bundles),
            tuple(np.sort(scores[bundle != one]) for one in bundles),
        )

    @property
    def n_dies(self) -> int:
        return sum(len(scores) for scores in self.of_lot)

    def correction(self, share: float) -> float:
        """By what to multiply a share of the dies so that a new lot loses ``share`` on average.

        Each lot is held to the quantile of the others; the level is sought at which what is
        rejected of them comes to ``share`` of all dies. The corrected level is below 1 as any
        share is. 1 with fewer than ``FEWEST_LOTS``.
        """
        if len(self.of_lot) < FEWEST_LOTS:
            return 1.0
        low, high = SMALLEST_CORRECTION, min(LARGEST_CORRECTION, 1 / share)
        for _ in range(_BISECTIONS):
            middle = math.sqrt(low * high)
            too_many = self._left_out_loss(middle * share) > share
            low, high = (low, middle) if too_many else (middle, high)
        return low

    def _left_out_loss(self, level: float) -> float:
        n_above = 0
        for own, others in zip(self.of_lot, self.of_others, strict=True):
            rank = math.ceil((len(others) + 1) * (1 - level) - 1e-9)
            threshold = others[min(max(rank, 1), len(others)) - 1]
            n_above += len(own) - int(np.searchsorted(own, threshold, side="right"))
        return n_above / self.n_dies

    def effective_dies(self, threshold: float) -> float:
        """How many independent dies would tell the share above a threshold as well.

        Source: Korn and Graubard, Survey Methodology 24 (1998): the dies divided by the design
        effect, and again by what Student's t asks for with so few lots. All of them with fewer than
        ``FEWEST_LOTS``, which say nothing of others.
        """
        n, n_lots = np.array([len(scores) for scores in self.of_lot]), len(self.of_lot)
        above = n - np.array([np.searchsorted(s, threshold, side="right") for s in self.of_lot])
        share = above.sum() / n.sum()
        if n_lots < FEWEST_LOTS or not 0 < share < 1:
            return float(n.sum())
        between = n_lots / (n_lots - 1) * np.square(above - n * share).sum() / n.sum() ** 2
        effect = max(1.0, between / (share * (1 - share) / n.sum()))
        by_student = (student_quantile(n.sum() - 1) / student_quantile(n_lots - 1)) ** 2
        return float(n.sum() / effect * by_student)


def compatible_shares(share: float, n: float, outside: float = 0.025) -> tuple[float, float]:
    """The least and the largest share that ``n`` dies may show where the true one is ``share``.

    They are those whose Clopper–Pearson bounds, at a confidence of 1 − 2 · ``outside``, just reach
    the true share; ``n`` need be no whole number. 0 and 1 where even none or all dies may be found.
    """

    def bound_below(found: float) -> bool:
        return beta_quantile(found * n + 1, (1 - found) * n, 1 - outside) < share

    def bound_above(missed: float) -> bool:
        return beta_quantile((1 - missed) * n, missed * n + 1, outside) > share

    return _largest(bound_below, share), 1 - _largest(bound_above, 1 - share)


def _largest(holds: Callable[[float], bool], most: float) -> float:
    """The largest x up to ``most`` that it holds for, where it does for all smaller ones; or 0."""
    low, high = 0.0, most
    if not holds(low):
        return 0.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def student_quantile(freedom: float, outside: float = 0.025) -> float:
    """The t that Student's distribution exceeds with probability ``outside``, at most a half."""
    x = beta_quantile(freedom / 2, 0.5, 2 * outside)  # of freedom / (freedom + t²)
    return math.sqrt(freedom * (1 - x) / x)


def beta_quantile(a: float, b: float, probability: float) -> float:
    """Quantile of the beta distribution, by integration over the logit of the share.

    There the density, x^a (1 − x)^b, has one peak and tails that fall off exponentially.
    """
    peak, width = math.log(a / b), math.sqrt(1 / a + 1 / b)
    reach = 12 * width + 30 / min(a, b)
    logit = peak + np.linspace(-reach, reach, _GRID)
    log_density = -a * np.logaddexp(0, -logit) - b * np.logaddexp(0, logit)
    density = np.exp(log_density - log_density.max())
    cumulative = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    at = float(np.interp(probability, cumulative / cumulative[-1], logit))
    return 1 / (1 + math.exp(-at))
