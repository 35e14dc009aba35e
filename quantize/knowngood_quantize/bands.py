"""Bands of verified verdicts: between which int8 scores a die is scored again in fp32.

The verdict of a die can differ between int8 and fp32 only if the threshold lies between its two
scores. So the error of int8 is measured on dies that lie at the threshold (`_boundary`), for each
kind of fault by itself, and the band reaches ``MARGIN`` times as far as the worst of each, seen
from its centre. Errors have long tails: the worst at one threshold counts at the others too.

A die with larger layer inputs than were seen in good dies has larger steps of int8, and so larger
errors: beyond ``scale_limits`` it is scored again whatever its int8 score is. docs/verified.md says
what this guarantees, and when it could fail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._network import HeadKind, OperatingPoint
from knowngood._sealed import Band, SealedModel

from ._band_evidence import BandEvidence, FaultError, PointEvidence
from ._boundary import BoundaryDies, Crossings, fault_paths
from ._exact_scores import ExactScores
from ._rescoring import GoodDies, expected_rescoring

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

__all__ = [
    "BandEvidence",
    "CalibratedBands",
    "FaultError",
    "PointEvidence",
    "calibrate_bands",
]

MIN_GOOD = 20
"""Scored good dies below which no band is calibrated."""
MIN_BOUNDARY = 100
"""Dies sent to a threshold and within the scale limits, fewer of which support no band."""
ENOUGH_GOOD = 200
"""With fewer, margins grow with the root of what is lacking: the same few dies are varied."""
MARGIN = 1.5
"""The band reaches this many times as far from the centre as the worst die at the threshold."""
ELSEWHERE_MARGIN = 1.25
"""And this many times as far as the worst die at any threshold would lie at this one."""
LIMIT_FACTORS = (1.0, 1.15, 1.3, 1.5, 2.0)
"""Scale limits that are tried, in units of the largest input of the layer in good dies, but for
the few wildest (`_rescoring`)."""
WORTH = 1.05
"""Lower scale limits are taken as long as they rescore at most this many times as many dies."""
SHARE_NEAREST = 0.05
"""Of the good dies as they are, the part nearest to a threshold speaks for them."""
UNCHANGED = "none"
"""Name of these dies' fault."""
METHOD = (
    "Good dies are given faults that grow until the fp32 score is at the threshold. The band holds "
    f"the int8 scores of these dies, {MARGIN:g} times as far from each fault's median error as the "
    f"worst, and {ELSEWHERE_MARGIN:g} times as far as the worst at any threshold, where errors "
    "are taken to grow with the root of the score (topk: not at all). Dies beyond the scale limits "
    "are rescored by themselves and widen no band. With fewer than "
    f"{ENOUGH_GOOD} good dies margins grow with the root of what is lacking."
)


@dataclass(frozen=True, eq=False)
class CalibratedBands:
    """Bands for every operating point of a model, and what they rest on.

    Attributes:
        bands: by ascending yield loss, as the model's points.
        scale_limits: float32 ``(n_layers,)``.
    """

    bands: tuple[Band, ...]
    scale_limits: Float32
    evidence: BandEvidence

    def apply(self, model: SealedModel) -> SealedModel:
        """The model with these bands: it then offers "verified"."""
        return replace(model, bands=self.bands, scale_limits=self.scale_limits)


def calibrate_bands(
    model: SealedModel, good: Float32, group: NDArray[np.int32] | None = None, *, seed: int = 0
) -> CalibratedBands:
    """Calibrate the bands of verified verdicts.

    Args:
        model: with fp32 and int8 layers and the fp32 thresholds; every point gets a band, whether
            or not its threshold is supported. Its golden dies and int8 thresholds are not needed.
        good: float32 ``(n_dies, n_tests)`` of good dies that neither weights nor their rounding
            have seen, raw units, NaN where a test is missing.
        group: int32 ``(n_dies,)``.
        seed: of the faults that dies are given.

    Raises:
        NotEnoughDataError: fewer than ``MIN_GOOD`` of the dies have a score, or fewer than
            ``MIN_BOUNDARY`` dies reach one of the thresholds within any of the scale limits.
        UsageError: the model has no layers, or lacks a precision or the thresholds of fp32.
    """
    _require_both(model)
    if group is None:
        group = np.full(len(good), -1, dtype=np.int32)
    engine = ExactScores(model)
    sample = _Sample.of(engine, good, group)
    points = model.points["fp32"]
    errors = _measure(model, engine, sample, points, seed)
    head = model.screen.head.kind
    candidates = [
        _Candidate.of(factor, head, sample.int8, points, errors) for factor in LIMIT_FACTORS
    ]
    chosen = _tightest(_supported(candidates, points))
    return CalibratedBands(chosen.bands, chosen.limits, chosen.evidence(sample, points, errors))


def _require_both(model: SealedModel) -> None:
    if not model.fp32 or not model.int8:
        raise UsageError(
            "bands need the layers of fp32 and of int8: the model has "
            f"{len(model.fp32 or ())} and {len(model.int8 or ())}"
        )
    if not model.points.get("fp32"):
        raise UsageError("bands lie around the thresholds of fp32, and the model has none")


@dataclass(frozen=True, eq=False)
class _Sample:
    """Good dies that both precisions score."""

    values: Float32
    group: NDArray[np.int32]
    fp32: Float32
    int8: GoodDies

    @classmethod
    def of(cls, engine: ExactScores, good: Float32, group: NDArray[np.int32]) -> _Sample:
        fp32, int8 = engine.fp32(good, group), engine.int8(good, group)
        scored = np.flatnonzero(np.isfinite(fp32) & np.isfinite(int8))
        if len(scored) < MIN_GOOD:
            raise NotEnoughDataError(
                f"bands of verified verdicts need {MIN_GOOD} held-out good dies with a score, "
                f"found {len(scored)} of {len(good)}. Train with more dies or lots, or use int8 "
                "or fp32 by itself"
            )
        values, group = np.ascontiguousarray(good[scored]), group[scored]
        magnitudes = engine.magnitudes(values, group)
        return cls(values, group, fp32[scored], GoodDies(int8[scored], magnitudes))


@dataclass(frozen=True, eq=False)
class _Errors:
    """Dies at a threshold: int8 − fp32, float64 ``(n,)``, and their ``(n, n_layers)``."""

    fault: str
    error: Float64
    magnitudes: Float32

    def within(self, limits: Float32) -> Bools:
        covered: Bools = np.all(self.magnitudes <= limits, axis=1)
        return covered

    def summary(self, limits: Float32) -> FaultError:
        covered = self.within(limits)
        error = self.error[covered]
        n_beyond = int(np.count_nonzero(~covered))
        if len(error) == 0:
            return FaultError(self.fault, 0, n_beyond, 0.0, 0.0, 0.0)
        centre, lowest, highest = np.median(error), error.min(), error.max()
        return FaultError(
            self.fault, len(error), n_beyond, float(centre), float(lowest), float(highest)
        )


def _measure(
    model: SealedModel,
    engine: ExactScores,
    sample: _Sample,
    points: Sequence[OperatingPoint],
    seed: int,
) -> list[list[_Errors]]:
    """Errors at each point, by fault. Dies beyond the widest limits are given none."""
    errors = [[_nearest(sample, point.threshold)] for point in points]
    ordinary = sample.int8.is_within(LIMIT_FACTORS[-1])
    scaler, dies = model.screen.scaler, (sample.values[ordinary], sample.group[ordinary])
    for path in fault_paths(scaler, *dies, engine.reconstruct, seed):
        crossings = Crossings(path, engine.fp32)
        for point, found in zip(points, errors, strict=True):
            found.append(_errors(engine, path.name, crossings.at(point.threshold)))
    return errors


def _nearest(sample: _Sample, threshold: float) -> _Errors:
    distance = np.abs(sample.fp32.astype(np.float64) - threshold)
    n_nearest = max(1, round(SHARE_NEAREST * len(distance)))
    dies = np.argsort(distance, kind="stable")[:n_nearest]
    error = sample.int8.scores[dies].astype(np.float64) - sample.fp32[dies]
    return _Errors(UNCHANGED, error, sample.int8.magnitudes[dies])


def _errors(engine: ExactScores, fault: str, dies: BoundaryDies) -> _Errors:
    """A die without an int8 score is rescored whatever the band."""
    error = engine.int8(dies.values, dies.group).astype(np.float64) - dies.fp32
    scored = np.isfinite(error)
    magnitudes = engine.magnitudes(dies.values[scored], dies.group[scored])
    return _Errors(fault, error[scored], magnitudes)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """Scale limits, and the bands that go with them.

    ``cost`` is the share rescored in units of the yield loss, over all points; ``n_boundary`` the
    dies sent to each threshold that lie within the limits.
    """

    factor: float
    limits: Float32
    share_beyond: float
    bands: tuple[Band, ...]
    rescoring: tuple[float, ...]
    cost: float
    n_boundary: tuple[int, ...]

    @classmethod
    def of(
        cls,
        factor: float,
        head: HeadKind,
        good: GoodDies,
        points: Sequence[OperatingPoint],
        errors: list[list[_Errors]],
    ) -> _Candidate:
        limits = (factor * good.largest).astype(np.float32)
        beyond = good.share_beyond(factor)
        faults = [[e.summary(limits) for e in found] for found in errors]
        bands = _bands(head, points, faults, _caution(len(good.scores)))
        rescoring = tuple(expected_rescoring(points, band, good, beyond) for band in bands)
        cost = sum(r / point.fpr for r, point in zip(rescoring, points, strict=True))
        n_boundary = tuple(sum(f.n_dies for f in some if f.fault != UNCHANGED) for some in faults)
        return cls(factor, limits, beyond, bands, rescoring, cost, n_boundary)

    def evidence(
        self, sample: _Sample, points: Sequence[OperatingPoint], errors: list[list[_Errors]]
    ) -> BandEvidence:
        is_beyond = ~(sample.int8.magnitudes <= self.limits).all(axis=1)
        told = []
        for point, band, expected, found in zip(
            points, self.bands, self.rescoring, errors, strict=True
        ):
            within = (sample.int8.scores >= band.lo) & (sample.int8.scores <= band.hi)
            faults = tuple(e.summary(self.limits) for e in found)
            rescored = float(np.mean(is_beyond | within))
            told.append(
                PointEvidence(
                    point.fpr, point.threshold, band.lo, band.hi, expected, rescored, faults
                )
            )
        n_good = len(sample.fp32)
        margin = MARGIN * _caution(n_good)
        return BandEvidence(METHOD, margin, n_good, self.factor, self.share_beyond, tuple(told))


def _supported(
    candidates: Sequence[_Candidate], points: Sequence[OperatingPoint]
) -> list[_Candidate]:
    """Those whose limits leave enough dies at every threshold."""
    supported = [c for c in candidates if min(c.n_boundary) >= MIN_BOUNDARY]
    if not supported:
        n_boundary = candidates[-1].n_boundary
        worst = int(np.argmin(n_boundary))
        raise NotEnoughDataError(
            f"bands of verified verdicts need {MIN_BOUNDARY} dies at each threshold whose inputs "
            f"are no larger than {LIMIT_FACTORS[-1]:g} times those of good dies, found "
            f"{n_boundary[worst]} at {points[worst].threshold:g}, for a yield loss of "
            f"{points[worst].fpr:.2%}. Train with more dies or lots, or use int8 or fp32 by itself"
        )
    return supported


def _tightest(candidates: Sequence[_Candidate]) -> _Candidate:
    """The lowest limits that cost hardly more than the best: fewer dies are left to the bands."""
    least = min(candidate.cost for candidate in candidates)
    return next(c for c in candidates if c.cost <= WORTH * least)


def _caution(n_good: int) -> float:
    """What margins are multiplied by."""
    return max(1.0, math.sqrt(ENOUGH_GOOD / n_good))


def _bands(
    head: HeadKind,
    points: Sequence[OperatingPoint],
    errors: Sequence[Sequence[FaultError]],
    caution: float,
) -> tuple[Band, ...]:
    """The band of each point; the worst error at any of them counts at all."""
    scales = [_error_scale(head, point.threshold) for point in points]
    worst = max(
        (f.farthest / scale for found, scale in zip(errors, scales, strict=True) for f in found)
        if all(scales)
        else (0.0,)
    )
    return tuple(
        _band(point.threshold, found, ELSEWHERE_MARGIN * worst * scale, caution)
        for point, found, scale in zip(points, errors, scales, strict=True)
    )


def _error_scale(head: HeadKind, threshold: float) -> float:
    """How an error grows with the score: of squares with its root, of magnitudes not at all."""
    return 1.0 if head == "topk" else float(np.sqrt(abs(threshold)))


def _band(threshold: float, faults: Sequence[FaultError], elsewhere: float, caution: float) -> Band:
    """Around the threshold, which it holds, in float32, rounded outwards.

    It reaches as far to one side as to the other of a fault's centre, and ``elsewhere`` at least:
    what int8 changes of the residual is as likely to raise a score as to lower it.
    """
    reach = [(f.centre, caution * max(MARGIN * f.farthest, elsewhere)) for f in faults]
    lowest = min(centre - far for centre, far in reach)
    highest = max(centre + far for centre, far in reach)
    lo = _float32_towards(threshold + min(lowest, 0.0), -np.inf)
    hi = _float32_towards(threshold + max(highest, 0.0), np.inf)
    return Band(lo, hi)


def _float32_towards(edge: float, direction: float) -> float:
    """The float32 next to ``edge`` on the side of ``direction``."""
    largest = float(np.finfo(np.float32).max)
    rounded = np.float32(np.clip(edge, -largest, largest))
    return float(np.clip(np.nextafter(rounded, np.float32(direction)), -largest, largest))
