"""Score heads learnt from held-out good dies: what a residual is worth, and what absence changes.

A residual is divided by σ_r, the scale of its *tail*: the |r| that about two held-out dies exceed
(one in a thousand at most), over what that quantile is of a Gaussian. Tests with heavy tails,
skew or coarse codes then reject no more good dies than the others do, which the interquartile
range (0 where most dies share a code) and the root mean square do not achieve.

`mahalanobis` also takes off what residuals of many tests share; `_low_rank` learns the directions.

Missing tests change what a score means; `_missing` measures that and sets `present_gain`,
`present_offset` and `min_present`.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._forward import reconstruct, weigh
from knowngood._network import Head, HeadKind, Network

from ._low_rank import fit_low_rank
from ._missing import equalise

MIN_HELD_OUT = 20
"""Held-out good dies without which no head is fitted; 2,000 are needed for a good one."""
TAIL_DIES = 2
"""So many held-out dies lie beyond the quantile that σ_r is taken from: one odd die is no scale."""
LARGEST_QUANTILE = 0.999
SMALLEST_SIGMA = 0.01
"""σ_r is at least this share of the test's own sigma: below it lie float32 and int8 rounding."""
CLIP_SIGMA = 4.0
"""Residuals count up to 4 σ_r towards E[z²], which one odd die must not set."""


def fit_head(
    network: Network,
    values: NDArray[np.float32],
    group: NDArray[np.int32] | None = None,
    *,
    kind: HeadKind = "topk",
    k: int = 5,
    patterns: NDArray[np.bool_] | None = None,
    max_missing: float | None = None,
    residual_weight: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> Head:
    """Fit a score head for a network's layers.

    Args:
        network: layers, scaler and schema; its own head is ignored.
        values: float32 ``(n_dies, n_tests)`` of good dies that it was not trained on, raw units,
            NaN where missing.
        group: int32 ``(n_dies,)``.
        kind: ``"topk"``, ``"normalized"``, ``"mse"`` or ``"mahalanobis"``. The last finds shared
            directions only as far as these dies support them: thousands are worth having, and
            where they show none it scores as ``"normalized"`` does.
        k: residuals that topk takes; as many as there are tests at most.
        patterns: bool ``(n_patterns, n_tests)``, True where a test is *missing*: what is missing
            together in practice, fail dies included. None takes random tests and the prefixes
            that stop-on-fail leaves.
        max_missing: share of the tests that may be missing, 0 to 1. None learns it: as many as
            good dies miss, and further as long as the score keeps its meaning.
        residual_weight: float32 ``(n_tests,)`` instead of 1 / σ_r.
        seed: of the masks.

    Raises:
        NotEnoughDataError: fewer than ``MIN_HELD_OUT`` dies.
        UsageError: an argument is out of range.
    """
    _check(network, values, kind, k, patterns, max_missing)
    scaler = network.screen.scaler
    u = scaler.standardise(values, scaler.rows(group, len(values)))
    present = np.isfinite(u)
    u = np.where(present, u, np.float32(0))
    residual = (u - reconstruct(network, u, dtype=np.float32)).astype(np.float32)
    sigma = residual_sigma(residual, present)
    if residual_weight is None:
        weight = np.ones_like(sigma) if kind == "mse" else 1 / sigma
    else:
        weight = residual_weight.astype(np.float64)
    head = Head(
        kind=kind,
        residual_weight=weight.astype(np.float32),
        expected_square=_expected_square(residual, present, sigma, weight),
        present_gain=_constant_gain(kind, k, network.screen.schema.n_tests),
        present_offset=np.zeros(network.screen.schema.n_tests + 1, dtype=np.float32),
        min_present=1,
        k=min(k, network.screen.schema.n_tests) if kind == "topk" else 0,
    )
    if kind == "mahalanobis":
        head = _with_low_rank(head, residual, present, sigma * weight)
    network = replace(network, screen=replace(network.screen, head=head))
    return equalise(network, u, present, patterns, max_missing, np.random.default_rng(seed))


def unfitted_head(n_tests: int) -> Head:
    """A plain mean square, for a network whose head is fitted next."""
    ones, by_present = np.ones(n_tests, dtype=np.float32), np.ones(n_tests + 1, dtype=np.float32)
    return Head("mse", ones, ones, by_present, np.zeros_like(by_present), min_present=1)


def _check(
    network: Network,
    values: NDArray[np.float32],
    kind: str,
    k: int,
    patterns: NDArray[np.bool_] | None,
    max_missing: float | None,
) -> None:
    n_tests = network.screen.schema.n_tests
    if kind not in get_args(HeadKind):
        raise UsageError(f"head must be one of {', '.join(get_args(HeadKind))}, found {kind!r}")
    if k < 1:
        raise UsageError(f"topk takes at least one residual, found k = {k}")
    if max_missing is not None and not 0 <= max_missing < 1:
        raise UsageError(f"max_missing is a share from 0 to below 1, found {max_missing!r}")
    if patterns is not None and (patterns.ndim != 2 or patterns.shape[1] != n_tests):
        raise UsageError(
            f"patterns must be bool (n_patterns, {n_tests}), found shape {patterns.shape}"
        )
    if values.ndim != 2 or values.shape[1] != n_tests:
        raise UsageError(f"values must be (n_dies, {n_tests}), found shape {values.shape}")
    if len(values) < MIN_HELD_OUT:
        raise NotEnoughDataError(
            f"a score head needs at least {MIN_HELD_OUT} held-out good dies, found {len(values)}"
        )


def residual_sigma(
    residual: NDArray[np.float32], present: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """σ_r of each test, float64 ``(n_tests,)``.

    A test that fewer than ``MIN_HELD_OUT`` of these dies have gets 1: its residual then counts in
    units of its own spread.

    Args:
        residual: ``(n_dies, n_tests)``, standardised.
        present: bool ``(n_dies, n_tests)``; residuals of missing tests are not looked at.
    """
    sigma = np.ones(residual.shape[1])
    for test in range(residual.shape[1]):
        r = np.abs(residual[present[:, test], test].astype(np.float64))
        if len(r) >= MIN_HELD_OUT:
            share = min(LARGEST_QUANTILE, 1 - TAIL_DIES / len(r))
            gaussian = NormalDist().inv_cdf((1 + share) / 2)
            sigma[test] = max(float(np.quantile(r, share)) / gaussian, SMALLEST_SIGMA)
    return sigma


def _expected_square(
    residual: NDArray[np.float32],
    present: NDArray[np.bool_],
    sigma: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> NDArray[np.float32]:
    clipped = np.minimum(np.abs(residual.astype(np.float64)), CLIP_SIGMA * sigma)
    total = np.where(present, clipped * clipped, 0).sum(axis=0)
    count = present.sum(axis=0)
    mean = np.where(count >= MIN_HELD_OUT, total / np.maximum(count, 1), sigma**2)
    expected: NDArray[np.float64] = np.maximum(mean, SMALLEST_SIGMA**2) * weight**2
    return expected.astype(np.float32)


def _with_low_rank(
    head: Head,
    residual: NDArray[np.float32],
    present: NDArray[np.bool_],
    sigma: NDArray[np.float64],
) -> Head:
    """The head with shared directions and what whitened residuals are expected to be.

    Args:
        head: weights the residuals.
        residual: ``(n_dies, n_tests)``, standardised.
        present: bool ``(n_dies, n_tests)``.
        sigma: float64 ``(n_tests,)``, the scale of weighted residuals.
    """
    low_rank = fit_low_rank(weigh(head, residual, present), present, CLIP_SIGMA * sigma)
    head = replace(head, low_rank=low_rank)
    whitened = weigh(head, residual, present).astype(np.float32)
    expected = _expected_square(whitened, present, sigma, np.ones_like(sigma))
    return replace(head, expected_square=expected)


def _constant_gain(kind: HeadKind, k: int, n_tests: int) -> NDArray[np.float32]:
    gain = 1 / min(k, n_tests) if kind == "topk" else 1.0
    return np.full(n_tests + 1, gain, dtype=np.float32)
