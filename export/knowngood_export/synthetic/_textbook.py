"""The two data sets of textbooks: simple, and misleading when taken alone.

Their tests are independent (or nearly so), so that an autoencoder has nothing to learn but a mean.
They check that a detector finds what cannot be overlooked; judge nothing else on them.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import UsageError

from ._streams import stream

N_TESTS = 512
MEAN, SIGMA = 0.5, 0.1
DROOP, DROOPING = -0.3, slice(0, 100)
DELAY, DELAYED = 0.4, slice(200, 300)
NOISE_SIGMA = 0.5
N_FEATURES = 20
N_BLOBS = 3


class TextbookDefect(str, Enum):
    """Droop of −0.3 on tests 0–99, delay of +0.4 on tests 200–299, noise of σ 0.5 on all tests."""

    VOLTAGE_DROOP = "voltage_droop"
    TIMING_SHIFT = "timing_shift"
    NOISE = "noise"

    def __str__(self) -> str:
        return self.value


def textbook_dies(n: int, *, seed: int = 0) -> NDArray[np.float32]:
    """``n`` good dies: float32 ``(n, 512)``, each test N(0.5, 0.1) clipped to [0, 1]."""
    rng = stream(_checked(n, seed), "textbook", "good")
    return _clipped(MEAN + SIGMA * rng.standard_normal((n, N_TESTS)))


def textbook_defective(
    n: int, defect: TextbookDefect | str, *, seed: int = 0
) -> NDArray[np.float32]:
    """``n`` dies with one of the three textbook defects, clipped to [0, 1] like the good ones.

    Returns:
        float32 ``(n, 512)``; the dies are others than those of :func:`textbook_dies`.

    Raises:
        UsageError: the defect is unknown.
    """
    try:
        defect = TextbookDefect(defect)
    except ValueError as error:
        known = ", ".join(TextbookDefect)
        raise UsageError(f"defect must be one of {known}, found {defect!r}") from error
    rng = stream(_checked(n, seed), "textbook", str(defect))
    dies = _clipped(MEAN + SIGMA * rng.standard_normal((n, N_TESTS))).astype(np.float64)
    if defect is TextbookDefect.VOLTAGE_DROOP:
        dies[:, DROOPING] += DROOP
    elif defect is TextbookDefect.TIMING_SHIFT:
        dies[:, DELAYED] += DELAY
    else:
        dies += NOISE_SIGMA * rng.standard_normal(dies.shape)
    return _clipped(dies)


def textbook_blobs(
    n: int, *, n_outliers: int = 0, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Three Gaussian blobs of σ 1 in 20 features, centres within ±10; outliers uniform there.

    Returns:
        values float32 ``(n + n_outliers, 20)``, the blobs' first, and labels int8: 0 in a blob,
        1 an outlier.
    """
    _checked(n_outliers, seed)
    centres = stream(seed, "blobs", "centres").uniform(-10.0, 10.0, (N_BLOBS, N_FEATURES))
    rng = stream(_checked(n, seed), "blobs", "good")
    inside = centres[rng.integers(N_BLOBS, size=n)] + rng.standard_normal((n, N_FEATURES))
    outside = stream(seed, "blobs", "outliers").uniform(-10.0, 10.0, (n_outliers, N_FEATURES))
    labels = np.repeat(np.array([0, 1], dtype=np.int8), [n, n_outliers])
    return np.concatenate([inside, outside]).astype(np.float32), labels


def _clipped(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.clip(values, 0.0, 1.0).astype(np.float32)


def _checked(n: int, seed: int) -> int:
    """The seed, if both numbers can be used."""
    if n < 0 or seed < 0:
        raise UsageError(f"numbers of dies and seeds must be 0 or more, found {n} and {seed}")
    return seed
