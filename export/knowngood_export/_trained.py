"""What training leaves behind and every export starts from: ``model.pt`` in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from knowngood._manifest import Evaluation, Provenance
from knowngood._network import Network
from numpy.typing import NDArray


@dataclass(frozen=True)
class CalibrationSet:
    """Held-out dies in raw units; thresholds are fitted and drift is measured on them.

    Attributes:
        good: float32 ``(n_good, n_tests)``, held-out good dies, NaN where a test is missing.
        good_group: int32 ``(n_good,)``.
        defective: float32 ``(n_defective, n_tests)``, held-out dies with injected defects.
        defective_group: int32 ``(n_defective,)``.
    """

    good: NDArray[np.float32]
    good_group: NDArray[np.int32]
    defective: NDArray[np.float32]
    defective_group: NDArray[np.int32]


@dataclass(frozen=True)
class TrainedModel:
    """A trained autoencoder with all that is needed to export and judge it.

    Attributes:
        network: fp32, with head and operating points fitted on ``calibration.good``.
        baselines: PAT, T² and PCA residual fitted on the same dies, with their own thresholds.
    """

    network: Network
    baselines: tuple[Network, ...]
    calibration: CalibrationSet
    provenance: Provenance
    evaluation: Evaluation
