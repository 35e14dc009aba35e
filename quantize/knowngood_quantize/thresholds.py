"""Thresholds: quantiles of the scores of held-out good dies, with what those dies can say.

Without lots the threshold at a yield loss is the split-conformal quantile, the ⌈(n+1)(1−fpr)⌉-th
smallest score: a further good die of the same process exceeds it with a probability of at most the
yield loss (Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World*, 2005). Dies of
several lots are no such sample: a further lot is another draw. There the level is corrected until
lots left out in turn lose the nominal share on average, and the interval is that of a cluster
sample (Woodruff, JASA 47, 1952, with the effective size of Korn and Graubard).

The threshold lies a hair above its score, and below the next, so that no die's verdict hangs on
its last bits, in which the engines differ. Where fewer than ten dies are expected above it, at its
corrected level, it is unsupported and extrapolated: the quantile of a generalised Pareto tail.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._network import MIN_EXCEEDANCES, OPERATING_POINTS, OperatingPoint

from ._lot_spread import LotScores, compatible_shares
from ._tail import TAIL_SHARE, Tail

Float64 = NDArray[np.float64]
MIN_SCORES = 20
"""Below this even the start of the tail, the 90 % quantile, rests on a die or two."""
RANKS_AROUND = 25
"""Ranks to either side of a threshold whose ratios refit it; fewer dies have fewer."""
ROUNDING = 2e-5
"""What fp32 engines may differ by in a score, relative."""
CONFIDENCE = 0.95


def fit_operating_points(
    scores: NDArray[np.floating],
    fprs: Sequence[float] = OPERATING_POINTS,
    lot: NDArray[np.integer] | None = None,
) -> tuple[OperatingPoint, ...]:
    """Thresholds at each yield loss.

    Unscored dies (NaN) take no part; ``n_dies`` counts those that do. ``low`` and ``high`` enclose
    the true quantile with 95 % confidence: order statistics whatever the distribution (exact
    binomial), further apart where lots differ; beyond the highest die the tail's interval.

    Args:
        scores: float ``(n,)`` of held-out good dies.
        fprs: yield losses, each above 0 and below 1.
        lot: int ``(n,)``, which lot each die is of; None takes the dies for independent.

    Raises:
        NotEnoughDataError: fewer than ``MIN_SCORES`` dies are scored.
        UsageError: a yield loss is not between 0 and 1, or ``lot`` is not one per die.
    """
    for fpr in fprs:
        if not 0 < fpr < 1:
            raise UsageError(f"a yield loss lies between 0 and 1, found {fpr!r}")
    sample = _Sample.of(scores, lot)
    points: dict[float, OperatingPoint] = {}
    least = -math.inf
    for fpr in sorted(fprs, reverse=True):  # a smaller yield loss never has the lower threshold
        point = sample.operating_point(fpr)
        least = max(least, point.threshold)
        points[fpr] = replace(point, threshold=least, high=max(point.high, least))
    return tuple(points[fpr] for fpr in fprs)


def conformal_thresholds(scores: NDArray[np.floating], fprs: Sequence[float]) -> Float64:
    """Only the thresholds of ``fit_operating_points``, of independent dies.

    Returns:
        float64 ``(len(fprs),)``.
    """
    sample = _Sample.of(scores, None)
    return np.array([sample.threshold(fpr) for fpr in fprs])


def refit_operating_points(
    points: Sequence[OperatingPoint],
    reference: NDArray[np.floating],
    scores: NDArray[np.floating],
) -> tuple[OperatingPoint, ...]:
    """The operating points of another form of a model, such as its int8 one.

    Thresholds and intervals go to where about as many of the same dies lie above them: each is
    multiplied by the ratio of the form's scores to the model's at the ranks around it. None falls
    as the yield loss does, and thresholds lie clear of the last bits of the form's scores.

    Args:
        points: of the model as ``reference`` scores it.
        reference: float ``(n,)``, scores of good dies.
        scores: float ``(n,)``, the form's scores of the same dies.

    Raises:
        NotEnoughDataError: fewer than ``MIN_SCORES`` dies are scored.
    """
    before, after = _ordered(reference), _ordered(scores)
    if len(before) != len(after):
        raise UsageError(
            f"the form scores {len(after)} good dies, the reference {len(before)}: "
            "operating points are refitted on the same dies"
        )

    def moved(score: float) -> float:
        return _corresponding(score, before, after)

    refitted: dict[float, OperatingPoint] = {}
    low = threshold = high = -math.inf
    for point in sorted(points, key=lambda p: p.fpr, reverse=True):
        threshold = max(threshold, _float32_between(after, moved(point.threshold)))
        low, high = max(low, moved(point.low)), max(high, moved(point.high), threshold)
        refitted[point.fpr] = replace(
            point, threshold=threshold, low=min(low, threshold), high=high
        )
    return tuple(refitted[p.fpr] for p in points)


def add_operating_points(
    points: Sequence[OperatingPoint],
    fprs: Sequence[float],
    scores: NDArray[np.floating],
    lot: NDArray[np.integer] | None = None,
) -> tuple[OperatingPoint, ...]:
    """Operating points at ``fprs``, of which ``points`` knows some.

    Known ones stay. Between two known ones threshold and interval are linear in the logarithm of
    the yield loss, as in an exponential tail, and between a supported and an unsupported one the
    lots of ``scores`` say which it is. Beyond them they are fitted on ``scores``.

    Args:
        points: ascending yield losses; they may rest on more dies than ``scores``.
        fprs: yield losses.
        scores, lot: as of ``fit_operating_points``.
    """
    known = {p.fpr: p for p in points}
    first, last = min(known, default=1.0), max(known, default=0.0)
    beyond = [fpr for fpr in fprs if not first <= fpr <= last]
    known |= {p.fpr: p for p in fit_operating_points(scores, beyond, lot)} if beyond else {}

    def correction(fpr: float) -> float:
        return 1.0 if lot is None else _Sample.of(scores, lot).level(fpr) / fpr

    return tuple(known.get(fpr) or _between(points, fpr, correction) for fpr in fprs)


def _between(
    points: Sequence[OperatingPoint], fpr: float, correction: Callable[[float], float]
) -> OperatingPoint:
    above = next(i for i, p in enumerate(points) if p.fpr > fpr)
    rarer, commoner = points[above - 1], points[above]
    place = math.log(fpr / rarer.fpr) / math.log(commoner.fpr / rarer.fpr)
    n_dies = min(rarer.n_dies, commoner.n_dies)

    def is_supported() -> bool:
        if rarer.supported or not commoner.supported:
            return rarer.supported
        return n_dies * fpr * min(1.0, correction(fpr)) >= MIN_EXCEEDANCES * (1 - 1e-9)

    def linear(a: float, b: float) -> float:
        return _float32_not_below(a + place * (b - a))

    return OperatingPoint(
        fpr,
        linear(rarer.threshold, commoner.threshold),
        linear(rarer.low, commoner.low),
        linear(rarer.high, commoner.high),
        n_dies,
        supported=is_supported(),
    )


@dataclass(frozen=True, eq=False)
class _Sample:
    """Scores of held-out good dies, float64 ``(n,)`` ascending, and by lot where lots are known."""

    ordered: Float64
    lots: LotScores | None

    @classmethod
    def of(cls, scores: NDArray[np.floating], lot: NDArray[np.integer] | None) -> _Sample:
        ordered = _ordered(scores)
        if lot is None:
            return cls(ordered, None)
        if lot.shape != scores.shape:
            raise UsageError(f"lot must be {scores.shape}, one per die, found {lot.shape}")
        scored = np.isfinite(scores)
        return cls(ordered, LotScores.of(scores[scored].astype(np.float64), lot[scored]))

    @cached_property
    def tail(self) -> Tail:
        return Tail.of(self.ordered)

    @property
    def smallest_supported(self) -> float:
        """The share above which ``MIN_EXCEEDANCES`` dies are expected."""
        return MIN_EXCEEDANCES * (1 - 1e-9) / len(self.ordered)

    def operating_point(self, fpr: float) -> OperatingPoint:
        level = self.level(fpr)
        threshold = self._threshold_at(level)
        low, high = self.interval(fpr)
        return OperatingPoint(
            fpr, threshold, min(low, threshold), max(high, threshold), len(self.ordered),
            supported=min(fpr, level) >= self.smallest_supported,
        )  # fmt: skip

    def threshold(self, fpr: float) -> float:
        return self._threshold_at(self.level(fpr))

    def level(self, fpr: float) -> float:
        """The share of these dies above the threshold at which the next lot loses ``fpr``."""
        return fpr * self._correction(fpr)

    def _threshold_at(self, level: float) -> float:
        seen = min(self.smallest_supported, TAIL_SHARE)
        if level >= seen:
            return self._conformal(level)
        within = self._conformal(seen)
        return max(within, _float32_between(self.ordered, self.tail.quantile(level)))

    def _correction(self, fpr: float) -> float:
        """Of the level, for the next lot; unsupported yield losses take that of supported ones."""
        return 1.0 if self.lots is None else self.lots.correction(max(fpr, self.smallest_supported))

    def _conformal(self, level: float) -> float:
        n = len(self.ordered)
        rank = math.ceil((n + 1) * (1 - level) - 1e-9)  # 1 − 0.02 is inexact: 490 must not be 491
        if rank >= n:
            return _float32_not_below(self.ordered[-1])
        return _just_above(self.ordered[rank - 1], self.ordered[rank])

    def interval(self, fpr: float) -> tuple[float, float]:
        """95 % interval of the score that a share ``fpr`` of all dies exceeds."""
        n = len(self.ordered)
        n_effective = float(n) if self.lots is None else self._effective_dies(fpr)
        first, last = _enclosing_ranks(n, fpr)
        if n_effective < n:
            least, largest = compatible_shares(fpr, n_effective)
            first = min(first, math.floor(n * (1 - largest)))
            last = max(last, math.ceil(n * (1 - least)) + 1)
        low = float(self.ordered[max(first, 1) - 1])
        if last <= n:
            return low, _float32_not_below(self.ordered[last - 1])
        return low, _float32_not_below(self._above_all(fpr, n / n_effective))

    def _effective_dies(self, fpr: float) -> float:
        assert self.lots is not None
        at = self._conformal(max(fpr, self.smallest_supported))
        return self.lots.effective_dies(at)

    def _above_all(self, fpr: float, inflation: float) -> float:
        outside = (1 - CONFIDENCE) / 2
        if fpr >= self.tail.share:  # of very few dies, which count as still fewer
            return float(self.ordered[-1])
        return max(float(self.ordered[-1]), self.tail.interval(fpr, outside, inflation)[1])


def _ordered(scores: NDArray[np.floating]) -> Float64:
    ordered = np.sort(scores[np.isfinite(scores)].astype(np.float64))
    if len(ordered) < MIN_SCORES:
        raise NotEnoughDataError(
            f"thresholds need the scores of at least {MIN_SCORES} held-out good dies, found "
            f"{len(ordered)} scored of {len(scores)}"
        )
    return ordered


def _corresponding(score: float, before: Float64, after: Float64) -> float:
    """Where ``score`` goes when ascending scores go from ``before`` to ``after``, as a float32.

    Its ratio is the median of those of the ranks around it: the ratio of a single rank has the
    whole error of a single die in it.
    """
    place = int(np.searchsorted(before, score, side="right"))
    reach = min(RANKS_AROUND, max(1, len(before) // 20))
    first = min(max(place - reach, 0), len(before) - 1)
    ranks = slice(first, place + reach)
    known = before[ranks] > 0
    if not known.any():
        return _float32_not_below(score)
    return _float32_not_below(score * float(np.median(after[ranks][known] / before[ranks][known])))


def _enclosing_ranks(n: int, fpr: float) -> tuple[int, int]:
    """Ranks 1 … n whose scores enclose the quantile with 95 % confidence; 0 and n + 1 are open."""
    below = _binomial_cdf(n, 1 - fpr)  # below[i] = P(at most i of n lie below the true quantile)
    outside = (1 - CONFIDENCE) / 2
    first = int(np.searchsorted(below, outside, side="right"))  # P(fewer than `first`) ≤ 2.5 %
    return first, 1 + int(np.searchsorted(below, 1 - outside, side="left"))


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


def _float32_between(ordered: Float64, score: float) -> float:
    """A float32 at ``score`` or a hair off it, clear of the dies on both sides where it can be."""
    n_below = int(np.searchsorted(ordered, score, side="right"))
    if not 0 < n_below < len(ordered):
        return _float32_not_below(score)
    below, following = ordered[n_below - 1], ordered[n_below]
    highest = following - min((following - below) / 2, ROUNDING * abs(following))
    clear = _float32_not_below(max(min(score, highest), _just_above(below, following)))
    return clear if clear < following else _float32_not_below(below)


def _float32_not_below(score: float) -> float:
    """The smallest float32 that is not below: a die with this very score passes."""
    rounded = np.float32(score)
    if rounded < score:
        rounded = np.nextafter(rounded, np.float32(np.inf))
    return float(rounded)
