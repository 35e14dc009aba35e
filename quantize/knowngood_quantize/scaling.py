"""Robust standardisation learnt from good dies, and which tests cannot be standardised.

Per test the centre is the median and the scale a robust sigma: IQR / 1.349. A coarse-coded test
with most dies on one code has an IQR of 0; wider quantile ranges are tried in turn (5–95 %,
1–99 %), then the standard deviation, and from the first fallback on the scale is at least the
smallest step between two codes: one code beside the median is no outlier.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._network import POOLED_GROUP, Scaler

MIN_PRESENT_DIES = 20
"""A quartile of fewer values says little about a process."""
MIN_GROUP_DIES = 50
"""The median of 50 dies has a standard error of 0.18 sigma."""
SPREADS = ((0.25, 0.75, 1.3489795), (0.05, 0.95, 3.2897073), (0.01, 0.99, 4.6526957))
"""Quantile ranges tried in turn, with what each is of a Gaussian's sigma."""
SIGMA_RANGE = (1e-30, 1e30)
"""Sigmas whose inverse, and whose products with residuals, float32 graphs can hold."""


def unusable_tests(
    values: NDArray[np.float32], *, min_present_dies: int = MIN_PRESENT_DIES
) -> dict[int, str]:
    """Columns that cannot be standardised, with the reason in words.

    Coarse-coded tests are usable as long as two different values occur. Infinite values count as
    missing here.

    Args:
        values: float32 ``(n_dies, n_tests)`` of good dies in raw units, NaN where missing.
        min_present_dies: a test must be present on so many dies.

    Returns:
        reason by column, in column order; empty if every test can be used.
    """
    reasons = {}
    for column in range(values.shape[1]):
        reason = _why_unusable(_finite(values[:, column]), len(values), min_present_dies)
        if reason:
            reasons[column] = reason
    return reasons


def _finite(column: NDArray[np.float32]) -> NDArray[np.float64]:
    return column[np.isfinite(column)].astype(np.float64)


def _why_unusable(present: NDArray[np.float64], n_dies: int, needed: int) -> str:
    if len(present) == 0:
        return "missing on every die"
    if len(present) < needed:
        return f"present on {len(present)} of {n_dies} dies, {needed} are needed"
    if present.min() == present.max():
        return f"constant at {present[0]:g}"
    sigma = _robust_sigma(present)
    if not SIGMA_RANGE[0] <= sigma <= SIGMA_RANGE[1]:
        return f"its sigma of {sigma:g} is outside the range that float32 models can hold"
    return ""


def _robust_sigma(present: NDArray[np.float64]) -> float:
    """Sigma of one test's finite values; 0 only if they are all the same."""
    for low, high, per_sigma in SPREADS:
        bottom, top = np.quantile(present, (low, high))
        sigma = (top - bottom) / per_sigma
        if sigma > 0:
            is_fallback = (low, high) != SPREADS[0][:2]
            return max(float(sigma), _code_step(present) if is_fallback else 0.0)
    return max(float(present.std()), _code_step(present)) if len(present) else 0.0


def _code_step(present: NDArray[np.float64]) -> float:
    codes = np.unique(present)
    return float(np.diff(codes).min()) if len(codes) > 1 else 0.0


def fit_scaler(
    values: NDArray[np.float32],
    group: NDArray[np.int32] | None = None,
    *,
    min_group_dies: int = MIN_GROUP_DIES,
) -> Scaler:
    """Learn centre and scale of each test from good dies.

    Row 0 is the scaler of all dies together. Each group with enough dies gets a row of its own:
    its own median for each test that enough of its dies have (the pooled median otherwise), and
    the robust sigma *within* groups, which all groups share. Sites differ in offset; a site with
    more noise than the others is something to see, not to scale away.

    Args:
        values: float32 ``(n_dies, n_tests)`` in raw units, NaN where missing.
        group: int32 ``(n_dies,)``, site of each die; None for one scaler for all dies.
        min_group_dies: fewer good dies give a group, or a test in it, no centre of its own.

    Raises:
        NotEnoughDataError: a column varies on no die; drop ``unusable_tests`` first.
        UsageError: ``group`` has another length, or holds the number of the pooled row.
    """
    _check_group(values, group)
    centre, sigma = _centre_and_sigma(values)
    if group is None:
        return Scaler(np.array([POOLED_GROUP], np.int32), centre[None], 1 / sigma[None])
    known, counts = np.unique(group, return_counts=True)
    own = known[counts >= min_group_dies].astype(np.int32)
    if len(own) == 0:
        return fit_scaler(values)
    centres = np.array([_group_centre(values[group == g], centre, min_group_dies) for g in own])
    within = _within_sigma(values, group, own, centres, sigma)
    return Scaler(
        groups=np.concatenate([np.array([POOLED_GROUP], np.int32), own]),
        centre=np.vstack([centre, centres]),
        inv_scale=1 / np.vstack([sigma, np.tile(within, (len(own), 1))]),
    )


def _check_group(values: NDArray[np.float32], group: NDArray[np.int32] | None) -> None:
    if group is None:
        return
    if group.shape != (len(values),):
        raise UsageError(
            f"group must hold one number per die, ({len(values)},), found shape {group.shape}"
        )
    if (group == POOLED_GROUP).any():
        raise UsageError(
            f"group {POOLED_GROUP} stands for all groups together and cannot be one of them"
        )


def _centre_and_sigma(
    values: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n_tests = values.shape[1]
    centre, sigma = np.zeros(n_tests), np.zeros(n_tests)
    for column in range(n_tests):
        present = _finite(values[:, column])
        if len(present):
            centre[column], sigma[column] = np.median(present), _robust_sigma(present)
    flat = np.flatnonzero(sigma == 0)
    if len(flat):
        shown = ", ".join(str(c) for c in flat[:10]) + (", …" if len(flat) > 10 else "")
        raise NotEnoughDataError(
            f"{len(flat)} tests do not vary over these {len(values)} dies (columns {shown}): "
            "drop constant and missing tests before the scaler is fitted"
        )
    return centre, sigma


def _group_centre(
    values: NDArray[np.float32], pooled: NDArray[np.float64], min_dies: int
) -> NDArray[np.float64]:
    centre = pooled.copy()
    for column in range(values.shape[1]):
        present = _finite(values[:, column])
        if len(present) >= min_dies:
            centre[column] = np.median(present)
    return centre


def _within_sigma(
    values: NDArray[np.float32],
    group: NDArray[np.int32],
    own: NDArray[np.int32],
    centres: NDArray[np.float64],
    pooled: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Robust sigma of each test about its group's centre; dies of small groups take no part.

    A test that does not vary within any group keeps the pooled sigma.
    """
    is_own = np.isin(group, own)
    row = np.searchsorted(own, group[is_own])
    sigma = pooled.copy()
    for column in range(values.shape[1]):
        deviation = values[is_own, column] - centres[row, column]
        within = _robust_sigma(deviation[np.isfinite(deviation)])
        sigma[column] = within if within > 0 else pooled[column]
    return sigma
