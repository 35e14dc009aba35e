"""Drift: counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._verdicts import UNSCORED_SCORE
from knowngood_quantize.drift import measure_drift

NAN = float(UNSCORED_SCORE)


def _f32(*scores: float) -> np.ndarray:
    return np.array(scores, np.float32)


def test_errors_and_flips_by_hand() -> None:
    drift = measure_drift(
        "onnx int8",
        reference_good=_f32(1.0, 2.0, 4.0, 3.0, NAN),
        reference_defective=_f32(5.0, 2.9, 8.0),
        form_good=_f32(1.1, 2.0, 3.0, 3.3, NAN),
        form_defective=_f32(3.05, 3.2, NAN),
        reference_threshold=3.0,
        form_threshold=3.1,
    )
    assert (drift.form, drift.n_good, drift.n_defective) == ("onnx int8", 5, 3)
    assert drift.error_median == pytest.approx(0.1, rel=1e-5)  # of 0.1, 0, 0.25, 0.1
    assert drift.error_worst == pytest.approx(0.25)
    # at 3.0 | 3.1: 4→3.0 becomes a pass, 3.0→3.3 a reject
    assert drift.flips_good == 2
    assert drift.flips_good_unchanged == 2
    # 5→3.05: a pass at 3.1 only; 2.9→3.2 a reject; 8→NaN is unscored
    assert drift.flips_defective == 3
    assert drift.flips_defective_unchanged == 2


def test_a_form_compared_with_itself_does_not_drift() -> None:
    scores = np.random.default_rng(0).gamma(3, 1, 200).astype(np.float32)
    drift = measure_drift("fp32", scores, scores, scores, scores, 4.0, 4.0)
    assert (drift.error_worst, drift.flips_good, drift.flips_defective) == (0, 0, 0)


def test_a_score_of_zero_gives_a_finite_error() -> None:
    drift = measure_drift("f", _f32(0.0, 1.0), _f32(), _f32(0.0, 1.0), _f32(), 1.0, 1.0)
    assert drift.error_worst == 0


def test_what_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="3 scores of good dies"):
        measure_drift("f", _f32(1), _f32(), _f32(1, 2, 3), _f32(), 1, 1)
    with pytest.raises(NotEnoughDataError, match="none of 1 good dies"):
        measure_drift("f", _f32(NAN), _f32(), _f32(1), _f32(), 1, 1)
