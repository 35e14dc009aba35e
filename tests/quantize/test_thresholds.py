"""Thresholds: SciPy's exact binomial, the conformal guarantee, and tails too short to see."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._network import OPERATING_POINTS
from knowngood_quantize.thresholds import conformal_thresholds, fit_operating_points


def _scores(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gumbel(3, 0.3, n).astype(np.float32)


def test_the_dies_verdict_that_sets_the_threshold_does_not_hang_on_its_last_bits() -> None:
    scores = np.linspace(1, 2, 1000, dtype=np.float32)
    threshold = fit_operating_points(scores, [0.02])[0].threshold
    below, above = scores[scores <= threshold][-1], scores[scores > threshold][0]
    assert (scores > threshold).sum() == 19  # the 981st of 1,000 is the limit: 1001 · 0.98
    assert below * (1 + 1e-5) < threshold < above * (1 - 1e-5)


@settings(max_examples=80, deadline=None)
@given(st.integers(20, 3000), st.floats(0.001, 0.3))
def test_the_conformal_rank(n: int, fpr: float) -> None:
    """With scores 1 … n the threshold is its own rank; a new die exceeds it at most so often."""
    point = fit_operating_points(np.arange(1, n + 1, dtype=np.float32), [fpr])[0]
    rank = math.floor(point.threshold)
    if fpr >= 1 / (n + 1):
        assert (n + 1 - rank) / (n + 1) <= fpr * (1 + 1e-9)
        assert (n + 1 - (rank - 1)) / (n + 1) > fpr * (1 - 1e-9)
    else:  # no rank is high enough: the tail is extended, never below the worst die
        assert rank >= n
    assert point.low <= point.threshold <= point.high
    assert point.supported == (n * fpr >= 10 * (1 - 1e-9))


@settings(max_examples=60, deadline=None)
@given(st.integers(50, 40_000), st.sampled_from(OPERATING_POINTS))
def test_the_interval_against_exact_binomial_ranks(n: int, fpr: float) -> None:
    point = fit_operating_points(np.arange(1, n + 1, dtype=np.float32), [fpr])[0]
    below = stats.binom(n, 1 - fpr)
    low = max(1, int(below.ppf(0.025)))
    assert point.low == low or below.cdf(low - 1) == pytest.approx(0.025, rel=1e-6)
    high = int(below.ppf(0.975)) + 1
    if high <= n:
        assert point.high == high
    else:
        assert point.high >= point.threshold


def test_the_interval_covers_the_true_quantile() -> None:
    true = stats.gumbel_r(3, 0.3).ppf(0.98)
    points = [fit_operating_points(_scores(1000, seed), [0.02])[0] for seed in range(300)]
    covered = np.mean([p.low <= true <= p.high for p in points])
    assert 0.92 <= covered <= 0.99


def test_a_good_die_is_rejected_as_often_as_nominal() -> None:
    """Mean realised yield loss over calibration sets: at most nominal, at least without one die."""
    true = stats.gumbel_r(3, 0.3)
    for fpr in (0.005, 0.02):
        losses = [true.sf(conformal_thresholds(_scores(999, s), [fpr])[0]) for s in range(400)]
        assert np.mean(losses) == pytest.approx(fpr, rel=0.06)


def test_a_tail_beyond_the_dies_is_extrapolated() -> None:
    scores = np.random.default_rng(3).exponential(1.0, 300).astype(np.float32)
    point = fit_operating_points(scores, [0.0005])[0]
    assert point.threshold > scores.max()
    assert point.threshold == pytest.approx(-np.log(0.0005), rel=0.35)  # exponential: exact form
    assert point.low <= point.threshold < point.high < np.inf
    assert not point.supported


def test_the_order_of_points_and_support() -> None:
    points = fit_operating_points(_scores(1000))
    assert [p.fpr for p in points] == list(OPERATING_POINTS)
    thresholds = [p.threshold for p in points]
    assert thresholds == sorted(thresholds, reverse=True)
    assert [p.supported for p in points] == [False, False, False, True, True, True]


def test_unscored_dies_take_no_part() -> None:
    scores = _scores(500)
    with_nan = np.concatenate([scores, np.full(40, np.nan, np.float32)])
    assert fit_operating_points(with_nan) == fit_operating_points(scores)
    assert fit_operating_points(with_nan)[0].n_dies == 500


def test_thresholds_are_float32_and_hold_their_own_die() -> None:
    scores = _scores(500).astype(np.float64) + 1e-9
    for point in fit_operating_points(scores):
        assert float(np.float32(point.threshold)) == point.threshold
    rank = int(np.ceil(501 * 0.98))
    assert np.float32(point.threshold) >= 0
    assert conformal_thresholds(scores, [0.02])[0] >= np.sort(scores)[rank - 1]


def test_too_few_dies_and_wrong_yield_losses() -> None:
    with pytest.raises(NotEnoughDataError, match="found 7 scored of 9"):
        fit_operating_points(np.array([1.0] * 7 + [np.nan] * 2, np.float32))
    with pytest.raises(UsageError, match="between 0 and 1"):
        fit_operating_points(_scores(100), [0.0])


def test_equal_scores_pass() -> None:
    point = fit_operating_points(np.full(100, 2.5, np.float32), [0.02, 0.0005])
    assert [p.threshold for p in point] == [2.5, 2.5]


@pytest.mark.parametrize(("n", "fpr"), [(2336, 0.0005), (2336, 0.001), (500, 0.005), (122, 0.005)])
def test_the_interval_of_an_unsupported_point_holds_the_true_quantile(n: int, fpr: float) -> None:
    """Exponential scores, whose quantile is known; at least 95 % of the intervals hold it."""
    rng = np.random.default_rng(0)
    true = -np.log(fpr)
    points = [
        fit_operating_points(rng.exponential(size=n).astype(np.float32), [fpr])[0]
        for _ in range(300)
    ]
    assert not points[0].supported
    assert np.mean([p.high >= true for p in points]) >= 0.95
    assert np.mean([p.low <= true for p in points]) >= 0.95
