"""A form beside the trained model: gates, thresholds of its own, drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowngood._manifest import Drift
from knowngood._network import OPERATING_POINTS, Network, OperatingPoint
from knowngood_quantize.drift import measure_drift
from knowngood_quantize.sampling import evenly_spaced
from knowngood_quantize.thresholds import fit_operating_points

from ._fit import Part, score_dies
from ._forms import Form, Scores
from ._gates import ExportGates, require_same_unscored
from ._trained import CalibrationSet, TrainedModel

Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of some calibration dies, good and defective."""

    good: Rows
    defective: Rows

    def of(self, scores: Scores) -> Scores:
        """The sample's scores out of those of all calibration dies."""
        return Scores(scores.engine, scores.good[self.good], scores.defective[self.defective])

    def dies(self, dies: CalibrationSet) -> CalibrationSet:
        """The sample's dies."""
        good, defective = self.good, self.defective
        return CalibrationSet(
            dies.good[good], dies.good_group[good],
            dies.defective[defective], dies.defective_group[defective],
        )  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """A form that passed its gates: its operating points, and how far it is from the model."""

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
        points = fit_operating_points(exact.good, fprs)
        threshold = _threshold(points, fpr)
        error = _drift("numpy float32", exact, single, threshold, threshold).error_worst
        return cls(exact, error, fpr, fprs, points)

    @property
    def threshold(self) -> float:
        """At the default yield loss."""
        return _threshold(self.points, self.fpr)

    def sample(self, n_good: int, n_defective: int) -> Sample:
        """Calibration dies for what is too slow for all: half of them spread evenly over all, half
        those nearest the threshold, whose verdict hangs on the last bits."""
        return Sample(
            _sample(self.scores.good, n_good, self.threshold),
            _sample(self.scores.defective, n_defective, self.threshold),
        )

    def judge(self, form: Form, found: Scores, gates: ExportGates) -> Judged:
        """A form by its scores of all calibration dies, on which its thresholds are fitted.

        Raises:
            GateError: it is too far from the trained model.
        """
        points = fit_operating_points(found.good, self.fprs)
        return self._judge(form, self.scores, found, points, gates)

    def judge_sample(self, form: Form, found: Scores, sample: Sample, gates: ExportGates) -> Judged:
        """A form by its scores of some calibration dies; it takes the thresholds of float64.

        Raises:
            GateError: it is too far from the trained model.
        """
        return self._judge(form, sample.of(self.scores), found, self.points, gates)

    def _judge(
        self,
        form: Form,
        expected: Scores,
        found: Scores,
        points: tuple[OperatingPoint, ...],
        gates: ExportGates,
    ) -> Judged:
        require_same_unscored(form, expected, found)
        name, threshold = f"{form} ({found.engine})", _threshold(points, self.fpr)
        drift = _drift(name, expected, found, self.threshold, threshold)
        gates.check(form, drift, self.fpr, self.float32_error)
        return Judged(points, drift)


def _numpy_scores(network: Network, dies: CalibrationSet, dtype: type[np.floating[Any]]) -> Scores:
    good, defective = Part(dies.good, dies.good_group), Part(dies.defective, dies.defective_group)
    scores = (score_dies(network, part, dtype=dtype) for part in (good, defective))
    return Scores("numpy", *scores)


def _sample(scores: NDArray[np.float32], n: int, threshold: float) -> Rows:
    even = evenly_spaced(len(scores), n // 2)
    distance = np.abs(scores.astype(np.float64) - threshold)
    nearest = np.argsort(distance, kind="stable")[: n - n // 2]  # NaN comes last
    return np.union1d(even, nearest).astype(np.intp)


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
