"""One contestant's scores beside native fp32's: verdicts that flip, and how far scores are off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from knowngood import Scorer
from knowngood_quantize._ranking import roc_auc
from knowngood_quantize.drift import verdicts
from knowngood_quantize.thresholds import fit_operating_points, refit_operating_points

from .._contestants import Float32
from ._dies import Judged


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores float32 of a set's dies, each ``(n,)``, NaN where there is none."""

    calibration: Float32
    good: Float32
    defective: Float32


@dataclass(frozen=True)
class AtPoint:
    """Dies whose verdict is not fp32's, at one operating point.

    Attributes:
        fpr: nominal yield loss.
        good, defective: with fp32's threshold for both.
        good_refitted, defective_refitted: each with the threshold of its own calibration scores.
    """

    fpr: float
    good: int
    defective: int
    good_refitted: int
    defective_refitted: int


@dataclass(frozen=True)
class Row:
    """A contestant with one head.

    Attributes:
        contestant: its name.
        bias, spread, worst: median, standard deviation and largest magnitude of the relative error
            on good dies.
        spearman: rank correlation with fp32 over all dies.
        auc_change: of its ROC-AUC, good against defective, from fp32's; NaN without either.
        unscored: dies that only one of the two scores.
    """

    contestant: str
    maker: str
    arithmetic: str
    engine: str
    head: str
    n_bytes: int
    n_good: int
    n_defective: int
    bias: float
    spread: float
    worst: float
    spearman: float
    auc_change: float
    unscored: int
    points: tuple[AtPoint, ...]

    def flips(self, *, refitted: bool) -> float:
        """Flips per 10,000 good dies and per 10,000 defective, added, mean over the points."""
        per_point = [
            1e4 * (p.good_refitted / self.n_good + p.defective_refitted / self.n_defective)
            if refitted
            else 1e4 * (p.good / self.n_good + p.defective / self.n_defective)
            for p in self.points
        ]
        return float(np.mean(per_point))


def errors_at(exact: Scores, found: Scores, fprs: Sequence[float]) -> tuple[AtPoint, ...]:
    """Flips at each operating point."""
    fitted = fit_operating_points(exact.calibration, fprs)
    moved = refit_operating_points(fitted, exact.calibration, found.calibration)
    points = []
    for fpr, unchanged, refitted in zip(fprs, fitted, moved, strict=True):
        counts = [
            _flips(expected, actual, unchanged.threshold, point.threshold)
            for point in (unchanged, refitted)
            for expected, actual in (
                (exact.good, found.good), (exact.defective, found.defective),
            )
        ]  # fmt: skip
        points.append(AtPoint(fpr, *counts))
    return tuple(points)


def _flips(expected: Float32, actual: Float32, threshold: float, own: float) -> int:
    return int(np.count_nonzero(verdicts(expected, threshold) != verdicts(actual, own)))


@dataclass(frozen=True)
class Errors:
    """See `Row`."""

    bias: float
    spread: float
    worst: float
    spearman: float
    auc_change: float
    unscored: int


def score_errors(exact: Scores, found: Scores) -> Errors:
    """How far scores are off, over dies that both score."""
    expected, actual = (np.concatenate([s.good, s.defective]) for s in (exact, found))
    is_defective = np.repeat([False, True], [len(exact.good), len(exact.defective)])
    both = np.isfinite(expected) & np.isfinite(actual)
    unscored = int(np.count_nonzero(np.isfinite(expected) != np.isfinite(actual)))
    expected, actual, is_defective = expected[both], actual[both], is_defective[both]
    good = ~is_defective
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = actual[good].astype(np.float64) / expected[good] - 1
    change = roc_auc(actual[good], actual[~good]) - roc_auc(expected[good], expected[~good])
    return Errors(
        bias=float(np.median(relative)),
        spread=float(relative.std()),
        worst=float(np.abs(relative).max()),
        spearman=float(spearmanr(expected, actual).statistic),
        auc_change=float(change),
        unscored=unscored,
    )


@dataclass(frozen=True)
class Verified:
    """Verified verdicts with one head at one operating point.

    Attributes:
        good, defective: dies whose verdict is not fp32's.
        rescored_good, rescored_defective: share whose score is not the bits of int8's: those
            scored again, but for any whose fp32 score is the same.
    """

    head: str
    fpr: float
    good: int
    defective: int
    rescored_good: float
    rescored_defective: float


def measure_verified(
    head: str, scorer: Scorer, judged: Judged, exact: Scores, int8: Scores, fpr: float
) -> Verified:
    """The native file in ``precision="verified"`` against native fp32, with its threshold."""
    at = scorer.at(fpr, extrapolate=True)
    flips, rescored = [], []
    kinds = (
        (judged.good, exact.good, int8.good),
        (judged.defective, exact.defective, int8.defective),
    )
    for dies, expected, quantised in kinds:
        result = at.score(dies.values)
        flips.append(int(np.count_nonzero(verdicts(expected, at.threshold) != result.verdicts)))
        changed = result.scores.view(np.uint32) != quantised.view(np.uint32)
        rescored.append(float(changed.mean()))
    return Verified(head, fpr, flips[0], flips[1], rescored[0], rescored[1])
