"""scikit-learn's own checks, run on the detector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from knowngood_export import AutoencoderDetector

EXPECTED_FAILURES: dict[str, str] = {}


@pytest.mark.filterwarnings("ignore::knowngood_export.detector.FewDiesWarning")
@parametrize_with_checks(
    [AutoencoderDetector(hidden=(16, 8), latent=2, epochs=15, n_threads=1)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_scikit_learn_check(estimator: AutoencoderDetector, check: Callable[[Any], None]) -> None:
    check(estimator)
