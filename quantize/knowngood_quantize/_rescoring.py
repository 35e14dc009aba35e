"""How many good dies a band and scale limits would have scored again, before any is produced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knowngood._network import OperatingPoint
from knowngood._sealed import Band

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

WILD_SHARE = 0.0002
"""So many of the good dies, one at least, may have any input: they set no scale limit."""
TAIL_SHARE = 0.1
"""Above the 90 % quantile a tail is taken as exponential."""


@dataclass(frozen=True, eq=False)
class GoodDies:
    """Held-out good dies as int8 sees them.

    Attributes:
        scores: float32 ``(n_dies,)``, int8, all finite.
        magnitudes: float32 ``(n_dies, n_layers)``, largest input of each layer, all finite.
    """

    scores: Float32
    magnitudes: Float32

    @property
    def largest(self) -> Float64:
        """Largest input of each layer but for the wildest dies, float64 ``(n_layers,)``, above 0.

        All but ``WILD_SHARE`` of the dies, or all but one, lie at or below it.
        """
        n_wild = max(1, int(WILD_SHARE * len(self.magnitudes)))
        place = max(0, len(self.magnitudes) - 1 - n_wild)
        largest: Float64 = np.sort(self.magnitudes, axis=0)[place].astype(np.float64)
        return np.maximum(largest, float(np.finfo(np.float32).tiny))

    def is_within(self, factor: float) -> Bools:
        """Whether all of a die's inputs are at most ``factor`` times the largest: ``(n_dies,)``."""
        within: Bools = self._reach() <= factor
        return within

    def share_beyond(self, factor: float) -> float:
        """Share of good dies with a layer input beyond ``factor`` times the largest.

        The wildest dies count as if they lay there: their distance says nothing of the others.
        """
        reach = np.minimum(self._reach(), 1.0)
        start = float(np.quantile(reach, 1 - TAIL_SHARE))
        mean_excess = float(np.mean(reach[reach > start] - start)) if reach.max() > start else 0.0
        if mean_excess == 0:
            return 0.0
        return TAIL_SHARE * float(np.exp(-max(factor - start, 0.0) / mean_excess))

    def _reach(self) -> Float64:
        reach: Float64 = (self.magnitudes / self.largest).max(axis=1)
        return reach

    def share_within(self, band: Band) -> float:
        """Share of these dies whose int8 score lies in a band."""
        return float(np.mean((self.scores >= band.lo) & (self.scores <= band.hi)))


def share_between(points: Sequence[OperatingPoint], band: Band) -> float | None:
    """Share of good dies with a score in a band, read off the thresholds.

    The logarithm of the yield loss is taken as linear between one threshold and the next, and
    beyond the outermost. None where there are fewer than two thresholds to say so.
    """
    by_threshold = {point.threshold: point.fpr for point in points}
    if len(by_threshold) < 2:
        return None
    thresholds = np.array(sorted(by_threshold))
    log_fpr = np.log([by_threshold[t] for t in thresholds])
    return _share_above(band.lo, thresholds, log_fpr) - _share_above(band.hi, thresholds, log_fpr)


def _share_above(score: float, thresholds: Float64, log_fpr: Float64) -> float:
    step = int(np.clip(np.searchsorted(thresholds, score), 1, len(thresholds) - 1))
    slope = (log_fpr[step] - log_fpr[step - 1]) / (thresholds[step] - thresholds[step - 1])
    log_share = log_fpr[step] + slope * (score - thresholds[step])
    return float(np.exp(min(log_share, 0.0)))


def expected_rescoring(
    points: Sequence[OperatingPoint], band: Band, good: GoodDies, share_beyond: float
) -> float:
    """Share of good dies that "verified" will score again at the point of ``band``."""
    within = share_between(points, band)
    return min(1.0, share_beyond + (good.share_within(band) if within is None else within))
