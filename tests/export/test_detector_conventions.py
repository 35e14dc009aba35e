"""scikit-learn's own checks, run on the detector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from knowngood_export import AutoencoderDetector

TOO_FEW = "gives the detector fewer than the 20 dies that a threshold needs"
EXPECTED_FAILURES = {
    "check_n_features_in_after_fitting": TOO_FEW,
    "check_classifier_data_not_an_array": TOO_FEW,
}


@pytest.mark.filterwarnings("ignore::knowngood_export.detector.FewDiesWarning")
@parametrize_with_checks(  # type: ignore[untyped-decorator]  # scikit-learn has no types
    [AutoencoderDetector(hidden=(16, 8), latent=2, epochs=10, fpr=0.05, n_threads=1)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
    xfail_strict=True,
)
def test_scikit_learn_check(estimator: AutoencoderDetector, check: Callable[[Any], None]) -> None:
    check(estimator)
