"""A form beside the trained model: gates, thresholds of its own, drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from knowngood._manifest import Drift
from knowngood._network import OPERATING_POINTS, Network, OperatingPoint
from knowngood_quantize.certificate import CertificateGates
from knowngood_quantize.drift import measure_drift
from knowngood_quantize.thresholds import (
    add_operating_points,
    refit_operating_points,
)

from ._fit import Part, score_dies
from ._forms import Form, Scores
from ._gates import require_fp32, require_same_unscored
from ._trained import CalibrationSet, TrainedModel


@dataclass(frozen=True)
class Judged:
    """A form by its scores: its operating points, and how far it is from the model."""

    points: tuple[OperatingPoint, ...]
    drift: Drift


@dataclass(frozen=True)
class TrainedScores:
    """The trained model's own scores in float64, which every form is compared with.

    Attributes:
        scores: of all calibration dies.
        float32_error: by how much float32 arithmetic alone changes one, relative.
        fpr: the default yield loss, one of ``fprs``.
        fprs: yield losses that get a threshold, ascending.
        points: thresholds of ``scores``.
    """

    scores: Scores
    float32_error: float
    fpr: float
    fprs: tuple[float, ...]
    points: tuple[OperatingPoint, ...]

    @classmethod
    def of(cls, trained: TrainedModel, fpr: float | None) -> TrainedScores:
        """Score the calibration dies; ``fpr`` None takes the model's own default."""
        fpr = trained.network.screen.default_fpr if fpr is None else fpr
        fprs = tuple(sorted({*OPERATING_POINTS, fpr}))
        exact = _numpy_scores(trained.network, trained.calibration, np.float64)
        single = _numpy_scores(trained.network, trained.calibration, np.float32)
        points = _points(trained, exact, fprs)
        threshold = _threshold(points, fpr)
        error = _drift("numpy float32", exact, single, threshold, threshold).error_worst
        return cls(exact, error, fpr, fprs, points)

    @property
    def threshold(self) -> float:
        """At the default yield loss."""
        return _threshold(self.points, self.fpr)

    def judge(self, form: Form, found: Scores, gates: CertificateGates) -> Judged:
        """A form by its scores of the calibration dies, on which its thresholds are fitted.

        Raises:
            GateError: it is too far from the trained model.
        """
        require_same_unscored(form, self.scores, found)
        points = refit_operating_points(self.points, self.scores.good, found.good)
        name = f"{form} ({found.engine})"
        drift = _drift(name, self.scores, found, self.threshold, _threshold(points, self.fpr))
        require_fp32(form, drift, gates, self.float32_error)
        return Judged(points, drift)


def _numpy_scores(network: Network, dies: CalibrationSet, dtype: type[np.floating[Any]]) -> Scores:
    good, defective = Part(dies.good, dies.good_group), Part(dies.defective, dies.defective_group)
    scores = (score_dies(network, part, dtype=dtype) for part in (good, defective))
    return Scores("numpy", *scores)


def _points(
    trained: TrainedModel, exact: Scores, fprs: tuple[float, ...]
) -> tuple[OperatingPoint, ...]:
    """The trained network's, which may rest on more dies than the calibration set; and others."""
    known = trained.network.screen.operating_points
    return add_operating_points(known, fprs, exact.good, trained.calibration.good_lot)


def _threshold(points: Sequence[OperatingPoint], fpr: float) -> float:
    return next(p.threshold for p in points if p.fpr == fpr)


def _drift(
    name: str, expected: Scores, found: Scores, expected_threshold: float, threshold: float
) -> Drift:
    return measure_drift(
        name,
        expected.good,
        expected.defective,
        found.good,
        found.defective,
        expected_threshold,
        threshold,
    )
