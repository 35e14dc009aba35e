"""Which tests go together in good dies: blocks, found in the dies themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .sampling import evenly_spaced

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

SMALLEST_BLOCK = 3
LARGEST_BLOCK = 32
CORRELATION_STEPS = (0.8, 0.6, 0.4)
COVERED_SHARE = 0.1
DIES_FOR_CORRELATION = 2000
CHANCE_SIGMA = 5.0
"""A correlation over n dies counts only above 5/√n, which chance gives 7 times in 12 million."""
SMALLEST_OVERLAP = 0.5

IQR_PER_SIGMA = 1.3489795003921634
"""Interquartile range of a Gaussian, 2·Φ⁻¹(0.75), in sigma; AEC-Q001 rounds it to 1.35."""


@dataclass(frozen=True, eq=False)
class CorrelatedBlock:
    """Tests that go together in good dies.

    Attributes:
        columns: int64 ``(n,)``, n ≥ 3, ascending.
        signs: float64 ``(n,)``, +1 or −1: which way a test goes when the block goes up.
    """

    columns: Int64
    signs: Float64


def robust_centre_and_sigma(values: NDArray[np.floating]) -> tuple[Float64, Float64]:
    """Median and robust sigma (IQR/1.349) of each test over the dies that have it.

    A coarse test with most dies on one code has IQR 0; its sigma is the standard deviation, or the
    smallest step between codes if that is larger. Constant tests have sigma 0; a test that no die
    has, a NaN centre and sigma 0.

    Args:
        values: ``(n_dies, n_tests)``, NaN where missing.

    Returns:
        centre and sigma, float64 ``(n_tests,)``.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=0)  # NaN goes last
    n_present = np.isfinite(ordered).sum(axis=0)
    low, centre, high = (_quantile_of_sorted(ordered, n_present, q) for q in (0.25, 0.5, 0.75))
    sigma = (high - low) / IQR_PER_SIGMA
    for column in np.flatnonzero((sigma == 0) & (n_present > 1)):
        sigma[column] = _sigma_of_codes(ordered[: n_present[column], column])
    return centre, np.where(n_present > 0, sigma, 0.0)


def _sigma_of_codes(present: Float64) -> float:
    steps = np.diff(np.unique(present))
    return max(float(present.std()), float(steps.min())) if len(steps) else 0.0


def _quantile_of_sorted(ordered: Float64, n_present: Int64, q: float) -> Float64:
    """Linear interpolation between order statistics; NaN for a column without values."""
    if len(ordered) == 0:
        return np.full(ordered.shape[1], np.nan)
    at = np.maximum(n_present - 1, 0) * q
    below = at.astype(np.int64)
    above = np.minimum(below + 1, np.maximum(n_present - 1, 0))
    columns = np.arange(ordered.shape[1])
    low, high = ordered[below, columns], ordered[above, columns]
    quantile: Float64 = low + (at - below) * (high - low)
    return quantile


def correlated_blocks(
    values: Float32, *, threshold: float | None = None, largest: int = LARGEST_BLOCK
) -> tuple[CorrelatedBlock, ...]:
    """Find blocks of tests that go together in good dies; the same dies give the same blocks.

    The test with most partners takes its closest (31 at most; no more than a quarter of all tests,
    but at least two) out of the pool, and so on. Correlations are of robustly standardised values
    cut at ±4 sigma, over at most 2,000 dies, and count only where chance cannot explain them.

    Args:
        values: float32 ``(n_dies, n_tests)`` of good dies, NaN where missing.
        threshold: smallest \\|correlation\\| with the block's first test. None takes the highest
            of 0.8, 0.6 and 0.4 at which a tenth of the tests are in blocks.
        largest: tests in a block.

    Returns:
        blocks, largest pool of partners first; empty if nothing is correlated.
    """
    correlation = _correlation(values)
    chance = CHANCE_SIGMA / np.sqrt(max(1, min(len(values), DIES_FOR_CORRELATION)))
    steps = CORRELATION_STEPS if threshold is None else (threshold,)
    blocks: tuple[CorrelatedBlock, ...] = ()
    for step in steps:
        blocks = _cluster(correlation, max(step, float(chance)), largest)
        if sum(len(b.columns) for b in blocks) >= COVERED_SHARE * values.shape[1]:
            break
    return blocks


def _correlation(values: Float32) -> Float32:
    """Correlation over the dies that have both tests ``(n_tests, n_tests)``, diagonal 0."""
    if len(values) > DIES_FOR_CORRELATION:
        values = values[evenly_spaced(len(values), DIES_FOR_CORRELATION)]
    z, present = _standardised(values)
    product = z.T @ z
    if present.all():
        energy = np.repeat(np.diag(product)[:, None], len(product), axis=1)
        overlap_suffices = np.ones_like(product, dtype=bool)
    else:
        here = present.astype(np.float32)
        energy = (z * z).T @ here
        overlap_suffices = here.T @ here >= SMALLEST_OVERLAP * len(z)
    norm = np.sqrt(energy * energy.T)
    known = overlap_suffices & (norm > 0)
    correlation: Float32 = np.divide(product, norm, out=np.zeros_like(product), where=known)
    np.fill_diagonal(correlation, 0.0)
    return correlation


def _standardised(values: Float32) -> tuple[Float32, NDArray[np.bool_]]:
    """Robust z cut at ±4 with mean 0, missing and constant tests 0; and what is present."""
    centre, sigma = robust_centre_and_sigma(values)
    present = np.isfinite(values) & (sigma > 0)
    scale = np.where(sigma > 0, sigma, 1.0)
    z = np.clip((values - np.where(present, centre, 0.0)) / scale, -4.0, 4.0)
    z = np.where(present, z, 0.0)
    z -= z.sum(axis=0) / np.maximum(present.sum(axis=0), 1)
    return np.where(present, z, 0.0).astype(np.float32), present


def _cluster(correlation: Float32, threshold: float, largest: int) -> tuple[CorrelatedBlock, ...]:
    """Greedy: the free test with most free partners, lowest column first, takes its closest."""
    strength = np.abs(correlation)
    tied = strength >= threshold
    n_partners = tied.sum(axis=1)
    largest = min(max(SMALLEST_BLOCK, len(correlation) // 4), largest)
    blocks = []
    while n_partners.size and n_partners.max() >= SMALLEST_BLOCK - 1:
        first = int(n_partners.argmax())
        partners = np.flatnonzero(tied[first])
        closest = partners[np.argsort(-strength[first, partners], kind="stable")][: largest - 1]
        columns = np.sort(np.append(closest, first))
        signs = np.where((correlation[first, columns] < 0), -1.0, 1.0)
        blocks.append(CorrelatedBlock(columns, signs))
        n_partners -= tied[:, columns].sum(axis=1)
        tied[columns] = False
        tied[:, columns] = False
        n_partners[columns] = 0
    return tuple(blocks)
