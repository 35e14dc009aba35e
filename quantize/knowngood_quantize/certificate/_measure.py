"""Scores made a certificate: pure arithmetic on arrays, no engine and no file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._network import OperatingPoint
from knowngood._verdicts import Verdict
from knowngood_quantize._ranking import roc_auc
from knowngood_quantize.drift import verdicts
from knowngood_quantize.thresholds import MIN_SCORES, conformal_thresholds
from knowngood_quantize.yardstick import YIELD_LOSS_GRID

from ._rank_correlation import spearman
from ._rate import Rate, rounded
from ._record import (
    ErrorBin,
    FormCertificate,
    PointCertificate,
    ReferenceCertificate,
    ReferencePoint,
    ScoreError,
)
from ._scores import FormScores, ReferenceScores, ScoredDies

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
NEAR = 0.1
"""Relative distance from the threshold within which a score error may change a verdict."""
N_BINS = 16
SMALLEST_BIN = 20
"""Fewer dies have no 5th and 95th percentile worth drawing."""
SIGMA_OF_QUARTILES = 1.349


def certify_reference(reference: ReferenceScores) -> ReferenceCertificate:
    """What the reference itself does with the dies.

    Raises:
        NotEnoughDataError: there is no good die, or none is scored.
    """
    scores, by = reference.scores, reference.by
    if not np.isfinite(scores.good).any():
        raise NotEnoughDataError(
            f"none of {len(scores.good)} good dies is scored by {by.form}: nothing can be certified"
        )
    error = _float64_error(reference)
    return ReferenceCertificate(
        form=by.form,
        precision=by.precision,
        engine=by.engine,
        engine_version=by.engine_version,
        cpu_path=by.cpu_path,
        model_id=by.model_id,
        n_float64=0 if error is None else len(error),
        float64_error_median=None if error is None else rounded(float(np.median(error))),
        float64_error_worst=None if error is None else rounded(float(error.max())),
        unscored_good=_n_unscored(scores.good),
        unscored_defective=_n_unscored(scores.all_defective),
        auc=_auc(scores),
        curve=_detection_curve(scores),
        points=tuple(_reference_point(scores, point) for point in reference.points),
    )


def _float64_error(reference: ReferenceScores) -> Float64 | None:
    if reference.float64 is None:
        return None
    rows, exact = reference.float64
    error = np.abs(_relative_errors(exact, reference.scores.good[rows]))
    return error if len(error) else None


def _n_unscored(scores: Float32) -> int:
    return int(np.count_nonzero(~np.isfinite(scores)))


def _reference_point(scores: ScoredDies, point: OperatingPoint) -> ReferencePoint:
    return ReferencePoint(
        fpr=point.fpr,
        supported=point.supported,
        threshold=point.threshold,
        rejected=_rejected(scores.good, point.threshold),
        detection=_detection(scores.defective, point.threshold),
    )


def _rejected(scores: Float32, threshold: float) -> Rate:
    """Dies above the threshold, of all: an unscored die is not rejected by the model."""
    return Rate.of(int(np.count_nonzero(scores > np.float32(threshold))), len(scores))


def _detection(defective: Mapping[str, Float32], threshold: float) -> dict[str, Rate]:
    return {name: _rejected(scores, threshold) for name, scores in defective.items()}


def certify_form(reference: ReferenceScores, found: FormScores) -> FormCertificate:
    """Measure a form against the reference; gates are left to `CertificateGates.breaches`.

    Raises:
        UsageError: the scores are not of the same dies, or no operating point is shared.
    """
    _require_same_dies(reference.scores, found)
    expected, scores, by = reference.scores, found.scores, found.by
    auc = _auc(scores)
    of_reference = _auc(expected)
    return FormCertificate(
        form=by.form,
        precision=by.precision,
        engine=by.engine,
        engine_version=by.engine_version,
        cpu_path=by.cpu_path,
        model_id=by.model_id,
        n_good=len(expected.good),
        n_defective=len(expected.all_defective),
        unscored_differ_good=_n_scored_by_one(expected.good, scores.good),
        unscored_differ_defective=_n_scored_by_one(expected.all_defective, scores.all_defective),
        error=_score_error(_relative_errors(expected.good, scores.good)),
        spearman=_rank_correlation(expected.good, scores.good),
        auc=auc,
        auc_change=None if auc is None or of_reference is None else rounded(auc - of_reference),
        top5_overlap=None if found.top5_overlap is None else rounded(found.top5_overlap),
        n_overlap=found.n_overlap,
        points=_points(reference, found),
        error_by_score=_error_by_score(expected.all, scores.all),
        curve=_detection_curve(scores),
    )


def _require_same_dies(expected: ScoredDies, found: FormScores) -> None:
    sets = [found.scores, *(r.scores for r in found.rescored.values())]
    shape = {"good": expected.good.shape, **{n: s.shape for n, s in expected.defective.items()}}
    for dies in sets:
        other = {"good": dies.good.shape, **{n: s.shape for n, s in dies.defective.items()}}
        if other != shape:
            raise UsageError(
                f"{found.by.form}: its scores are of other dies than the reference's: "
                f"{_counts(other)} instead of {_counts(shape)}"
            )


def _counts(shape: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{n} {name}" for name, (n,) in shape.items())


def _points(reference: ReferenceScores, found: FormScores) -> tuple[PointCertificate, ...]:
    points = tuple(
        _point(reference, point, found)
        for point in reference.points
        if point.fpr in found.thresholds
    )
    if not points:
        listed = ", ".join(f"{fpr:g}" for fpr in found.thresholds) or "none"
        raise UsageError(
            f"{found.by.form} has no operating point of the reference: it has {listed}, the "
            f"reference {', '.join(f'{p.fpr:g}' for p in reference.points) or 'none'}"
        )
    return points


def _point(
    reference: ReferenceScores, point: OperatingPoint, found: FormScores
) -> PointCertificate:
    expected, own = reference.scores, found.thresholds[point.fpr]
    rescored = found.rescored.get(point.fpr)
    scores = found.scores if rescored is None else rescored.scores
    good, bad = (expected.good, scores.good), (expected.all_defective, scores.all_defective)
    errors = np.concatenate([_near_errors(*good, point), _near_errors(*bad, point)])
    return PointCertificate(
        fpr=point.fpr,
        supported=point.supported,
        threshold=point.threshold,
        threshold_refitted=own,
        flips_good=_flips(*good, point.threshold, own),
        flips_defective=_flips(*bad, point.threshold, own),
        flips_good_unchanged=_flips(*good, point.threshold, point.threshold),
        flips_defective_unchanged=_flips(*bad, point.threshold, point.threshold),
        rejected=_rejected(scores.good, own),
        rejected_unchanged=_rejected(scores.good, point.threshold),
        detection=_detection(scores.defective, own),
        detection_unchanged=_detection(scores.defective, point.threshold),
        near=_score_error(errors),
        band_low=None if rescored is None else rescored.band.lo,
        band_high=None if rescored is None else rescored.band.hi,
        rescored_good=None if rescored is None else Rate.of(rescored.good, len(good[0])),
        rescored_defective=None if rescored is None else Rate.of(rescored.defective, len(bad[0])),
    )


def _flips(expected: Float32, scores: Float32, threshold: float, own: float) -> Rate:
    changed = verdicts(expected, threshold) != verdicts(scores, own)
    return Rate.of(int(np.count_nonzero(changed)), len(expected))


def _n_scored_by_one(expected: Float32, scores: Float32) -> int:
    before, after = verdicts(expected, 0.0), verdicts(scores, 0.0)
    return int(np.count_nonzero((before == Verdict.UNSCORED) != (after == Verdict.UNSCORED)))


def _relative_errors(expected: Float32, scores: Float32) -> Float64:
    """Of dies that both score; a reference score of exactly 0 has no relative error."""
    both = np.isfinite(expected) & np.isfinite(scores) & (expected > 0)
    exact = expected[both].astype(np.float64)
    errors: Float64 = (scores[both] - exact) / exact
    return errors


def _near_errors(expected: Float32, scores: Float32, point: OperatingPoint) -> Float64:
    near = np.abs(expected.astype(np.float64) - point.threshold) <= NEAR * abs(point.threshold)
    return _relative_errors(expected[near], scores[near])


def _score_error(errors: Float64) -> ScoreError:
    if not len(errors):
        return ScoreError(0)
    low, first, median, third, high = np.quantile(errors, (0.01, 0.25, 0.5, 0.75, 0.99)).tolist()
    worst = float(np.abs(errors).max())
    spread = (third - first) / SIGMA_OF_QUARTILES
    return ScoreError(len(errors), *(rounded(x) for x in (median, spread, low, high, worst)))


def _rank_correlation(expected: Float32, scores: Float32) -> float | None:
    both = np.isfinite(expected) & np.isfinite(scores)
    found = spearman(expected[both], scores[both])
    return None if found is None else float(f"{found:.9g}")


def _auc(scores: ScoredDies) -> float | None:
    auc = roc_auc(_finite(scores.good), _finite(scores.all_defective))
    return None if np.isnan(auc) else float(f"{auc:.9g}")


def _finite(scores: Float32) -> Float32:
    return scores[np.isfinite(scores)]


def _detection_curve(scores: ScoredDies) -> tuple[float, ...]:
    """Detection over all defective dies at ``YIELD_LOSS_GRID``; empty without enough dies."""
    found = scores.all_defective
    if len(_finite(scores.good)) < MIN_SCORES or not len(found):
        return ()
    thresholds = conformal_thresholds(scores.good, YIELD_LOSS_GRID)
    return tuple(float(f"{(found > t).mean():.5g}") for t in thresholds)


def _error_by_score(expected: Float32, scores: Float32) -> tuple[ErrorBin, ...]:
    """Bins of equal ratio between the 0.1 and 99.9 % reference scores."""
    both = np.isfinite(expected) & np.isfinite(scores) & (expected > 0)
    exact, found = expected[both].astype(np.float64), scores[both].astype(np.float64)
    if len(exact) < SMALLEST_BIN:
        return ()
    first, last = np.quantile(exact, (0.001, 0.999)).tolist()
    edges = np.geomspace(first, last, N_BINS + 1)
    error, place = (found - exact) / exact, np.searchsorted(edges, exact)
    members = (np.flatnonzero(place == index) for index in range(1, N_BINS + 1))
    return tuple(_error_bin(exact[m], error[m]) for m in members if len(m) >= SMALLEST_BIN)


def _error_bin(exact: Float64, error: Float64) -> ErrorBin:
    low, median, high = (float(f"{q:.4g}") for q in np.quantile(error, (0.05, 0.5, 0.95)))
    return ErrorBin(float(f"{np.median(exact):.4g}"), len(exact), low, median, high)
