"""Drift: every contestant's scores and verdicts against the trained network in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knowngood._forward import forward
from knowngood._network import Network
from knowngood_export.comparison import FreshDies
from knowngood_quantize.drift import measure_drift
from knowngood_quantize.yardstick import evaluate_scores

from ._cases import ScoreErrors
from ._contestants import Contestant, Float32, in_blocks, thresholds_of

REFERENCE = "float64"


@dataclass(frozen=True)
class AtPoint:
    """One detector at one operating point, with its own threshold.

    Attributes:
        fpr: nominal yield loss.
        yield_loss: realised on fresh good dies.
        median_lot: yield loss of the median lot; a few lots far from those trained on make most of
            ``yield_loss``.
        detection: share of the defective dies rejected, by class of defect.
        flips_good, flips_defective: verdicts per 10,000 that differ from the reference's; of a
            baseline, which is another screen, there are none to compare.
    """

    fpr: float
    threshold: float
    yield_loss: float
    median_lot: float
    detection: dict[str, float]
    flips_good: float | None
    flips_defective: float | None


@dataclass(frozen=True)
class Accuracy:
    """How far one detector is from the reference; errors are relative, over dies both score.

    Attributes:
        bias: of a contestant, the median signed error on good dies.
        errors: medians and worst; None for a baseline.
        curve: detection over all classes at equal yield loss, as (yield loss, share) pairs.
    """

    detector: str
    form: str
    bias: float | None
    errors: ScoreErrors | None
    points: tuple[AtPoint, ...]
    curve: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _Scores:
    lots: NDArray[np.object_]
    good: Float32
    defective: dict[str, Float32]
    thresholds: Mapping[float, float]

    @property
    def all_defective(self) -> Float32:
        return np.concatenate(list(self.defective.values()))


def measure_accuracy(
    network: Network,
    baselines: Sequence[Network],
    contestants: Sequence[Contestant],
    fresh: FreshDies,
) -> list[Accuracy]:
    """The reference itself, then the contestants, then the baselines, all on the same dies."""
    reference = _score_with(network, fresh, np.float64)
    scores = {REFERENCE: reference}
    scores |= {c.name: _score_contestant(c, fresh) for c in contestants}
    scores |= {b.detector: _score_with(b, fresh, np.float32) for b in baselines}
    forms = {REFERENCE: "float64", **{c.name: c.form for c in contestants}}
    curves = _curves(scores)
    return [
        _accuracy(name, forms.get(name, "baseline"), reference, s, curves[name])
        for name, s in scores.items()
    ]


def _score_with(network: Network, fresh: FreshDies, dtype: type[np.floating]) -> _Scores:
    def score(values: Float32) -> Float32:
        return in_blocks(lambda dies: forward(network, dies, dtype=dtype).scores, values)

    defective = {s.name: score(s.values) for s in fresh.defective}
    return _Scores(
        fresh.good.dies.lot, score(fresh.good.values), defective, thresholds_of(network.screen)
    )


def _score_contestant(contestant: Contestant, fresh: FreshDies) -> _Scores:
    defective = {s.name: contestant.score(s.values) for s in fresh.defective}
    good = contestant.score(fresh.good.values)
    return _Scores(fresh.good.dies.lot, good, defective, contestant.thresholds)


def _curves(scores: Mapping[str, _Scores]) -> dict[str, tuple[tuple[float, float], ...]]:
    evaluation = evaluate_scores(
        {name: s.good for name, s in scores.items()},
        {name: {"all": s.all_defective} for name, s in scores.items()},
        "fresh dies",
    )
    return {
        c.detector: tuple(zip(evaluation.yield_loss, c.detection, strict=True))
        for c in evaluation.curves
    }


def _accuracy(
    name: str, form: str, reference: _Scores, own: _Scores, curve: tuple[tuple[float, float], ...]
) -> Accuracy:
    points = tuple(
        _at_point(name, fpr, reference, own, with_flips=form != "baseline")
        for fpr in own.thresholds
    )
    if form == "baseline" or own is reference:
        return Accuracy(name, form, None, None, points, curve)
    good = _signed_errors(reference.good, own.good)
    defective = _signed_errors(reference.all_defective, own.all_defective)
    errors = ScoreErrors(
        good_median=float(np.median(np.abs(good))),
        good_worst=float(np.abs(good).max()),
        defective_worst=float(np.abs(defective).max()),
    )
    return Accuracy(name, form, float(np.median(good)), errors, points, curve)


def _at_point(
    name: str, fpr: float, reference: _Scores, own: _Scores, *, with_flips: bool
) -> AtPoint:
    threshold = own.thresholds[fpr]
    flips_good = flips_defective = None
    if with_flips:
        drift = measure_drift(
            name, reference.good, reference.all_defective, own.good, own.all_defective,
            reference.thresholds[fpr], threshold,
        )  # fmt: skip
        flips_good = 1e4 * drift.flips_good / drift.n_good
        flips_defective = 1e4 * drift.flips_defective / drift.n_defective
    detection = {defect: float((s > threshold).mean()) for defect, s in own.defective.items()}
    rejected = own.good > threshold
    by_lot = [rejected[own.lots == lot].mean() for lot in set(own.lots.tolist())]
    return AtPoint(
        fpr, threshold, float(rejected.mean()), float(np.median(by_lot)), detection,
        flips_good, flips_defective,
    )  # fmt: skip


def _signed_errors(reference: Float32, own: Float32) -> NDArray[np.float64]:
    """Relative errors; NaN where only one of the two scores a die, which no limit allows."""
    either = ~(np.isnan(reference) & np.isnan(own))
    expected = reference[either].astype(np.float64)
    errors: NDArray[np.float64] = (own[either] - expected) / expected
    return errors
