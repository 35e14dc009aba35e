"""Thresholds: SciPy's exact binomial, the conformal guarantee, and tails too short to see."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._network import OPERATING_POINTS, OperatingPoint
from knowngood_quantize.thresholds import (
    add_operating_points,
    conformal_thresholds,
    fit_operating_points,
    refit_operating_points,
)


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
    if n * fpr >= 10 or fpr > 0.1:
        assert (n + 1 - rank) / (n + 1) <= fpr * (1 + 1e-9)
        assert (n + 1 - (rank - 1)) / (n + 1) > fpr * (1 - 1e-9)
    elif fpr < 0.1:  # too few dies above it: a tail's quantile, above the last rank with ten
        assert rank >= math.ceil((n + 1) * (1 - min(0.1, 10 / n)) - 1e-9) - 1
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
        assert point.high == max(high, point.threshold)
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
        losses = [true.sf(conformal_thresholds(_scores(999, s), [fpr])[0]) for s in range(200)]
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
        for _ in range(80)
    ]
    assert not points[0].supported
    assert np.mean([p.high >= true for p in points]) >= 0.95
    assert np.mean([p.low <= true for p in points]) >= 0.95


def _lots(n_lots: int, n_dies: int, between: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose logarithm is Gaussian, with a part that lots share; sigma 0.2 in all."""
    rng = np.random.default_rng(seed)
    lot = np.repeat(np.arange(n_lots), n_dies)
    log = between * rng.normal(size=n_lots)[lot]
    log += np.sqrt(1 - between**2) * rng.normal(size=len(lot))
    return np.exp(0.2 * log).astype(np.float32), lot


_TRUE = stats.lognorm(0.2)


@pytest.mark.parametrize("n_lots", [4, 12])
def test_the_interval_knows_that_lots_differ(n_lots: int) -> None:
    true = _TRUE.isf(0.02)
    samples = [_lots(n_lots, 500, 0.4, seed) for seed in range(40)]
    with_lots = [fit_operating_points(s, [0.02], lot)[0] for s, lot in samples]
    without = [fit_operating_points(s, [0.02])[0] for s, _ in samples]
    assert np.mean([p.low <= true <= p.high for p in with_lots]) >= 0.88
    assert np.mean([p.low <= true <= p.high for p in without]) <= 0.6
    for wide, narrow in zip(with_lots, without, strict=True):
        assert wide.low <= narrow.low
        assert narrow.high <= wide.high


def test_a_new_lot_loses_the_nominal_share_on_average() -> None:
    losses, pooled = [], []
    for seed in range(60):
        scores, lot = _lots(6, 400, 0.5, seed)
        losses.append(_TRUE.sf(fit_operating_points(scores, [0.02], lot)[0].threshold))
        pooled.append(_TRUE.sf(conformal_thresholds(scores, [0.02])[0]))
    assert np.mean(pooled) > 0.023
    assert np.mean(losses) == pytest.approx(0.02, rel=0.15)
    assert np.mean(losses) < np.mean(pooled) - 0.002


def test_one_lot_or_two_say_nothing_of_others() -> None:
    scores = _scores(800)
    one_lot = np.zeros(800, dtype=np.int32)
    assert fit_operating_points(scores, lot=one_lot) == fit_operating_points(scores)
    two_lots = np.arange(800) // 400
    assert fit_operating_points(scores, lot=two_lots) == fit_operating_points(scores)


def test_lots_of_unscored_dies_and_wrong_lots() -> None:
    scores, lot = _lots(4, 300, 0.3, 0)
    unscored = np.full(50, np.nan, np.float32)
    with_nan = fit_operating_points(
        np.concatenate([scores, unscored]), lot=np.append(lot, [9] * 50)
    )
    assert with_nan == fit_operating_points(scores, lot=lot)
    with pytest.raises(UsageError, match="one per die"):
        fit_operating_points(scores, lot=lot[1:])


def test_thresholds_fall_as_the_yield_loss_rises() -> None:
    fprs = [float(f) for f in np.geomspace(1e-4, 0.3, 24)]
    for seed in range(2):
        scores, lot = _lots(5, 300, 0.4, seed)
        points = fit_operating_points(scores, fprs, lot)
        assert np.all(np.diff([p.threshold for p in points]) <= 0)
        assert all(p.low <= p.threshold <= p.high for p in points)
        assert np.all(np.diff(conformal_thresholds(scores, fprs)) <= 0)


def test_another_form_rejects_about_as_many_of_the_same_dies() -> None:
    scores = _scores(3000)
    points = fit_operating_points(scores)
    rng = np.random.default_rng(5)
    form = (1.1 * scores * (1 + 0.01 * rng.standard_normal(3000))).astype(np.float32)
    for before, after in zip(points, refit_operating_points(points, scores, form), strict=True):
        n_before, n_after = (scores > before.threshold).sum(), (form > after.threshold).sum()
        assert abs(int(n_after) - int(n_before)) <= 1 + 0.15 * n_before
        assert float(np.float32(after.threshold)) == after.threshold
        assert after.low <= after.threshold <= after.high
        assert after == replace(before, threshold=after.threshold, low=after.low, high=after.high)


def test_refitting_adds_no_error_of_a_single_die() -> None:
    """At the quantile of its own scores more verdicts differ than a form's errors explain."""
    points, flips, flips_of_quantile = (0.005, 0.01, 0.02), 0, 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores, fresh = (rng.lognormal(0, 0.1, n) for n in (2000, 20_000))
        form, fresh_form = (
            s * (1.003 + 0.002 * rng.standard_normal(len(s))) for s in (scores, fresh)
        )
        fitted = fit_operating_points(scores, points)
        refitted = refit_operating_points(fitted, scores, form)
        own = conformal_thresholds(form, points)
        for before, after, quantile in zip(fitted, refitted, own, strict=True):
            rejected = fresh > before.threshold
            flips += int(((fresh_form > after.threshold) != rejected).sum())
            flips_of_quantile += int(((fresh_form > quantile) != rejected).sum())
    assert flips < 0.94 * flips_of_quantile


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 2.0))
def test_a_form_in_another_unit_has_its_thresholds_in_it(seed: int, unit: float) -> None:
    scores = _scores(400, seed)
    points = fit_operating_points(scores)
    for p, q in zip(points, refit_operating_points(points, scores, scores * unit), strict=True):
        assert q.threshold == pytest.approx(p.threshold * unit, rel=4e-5)
        assert q.high == pytest.approx(p.high * unit, rel=4e-5)
    same = refit_operating_points(points, scores, scores)
    assert [p.threshold for p in same] == pytest.approx([p.threshold for p in points], rel=3e-5)


def test_refitting_needs_the_same_dies() -> None:
    with pytest.raises(UsageError, match="the same dies"):
        refit_operating_points(fit_operating_points(_scores(400)), _scores(400), _scores(399))


def test_points_between_known_ones_and_beyond() -> None:
    scores = np.random.default_rng(0).exponential(size=40_000).astype(np.float32)
    known = fit_operating_points(scores, [0.005, 0.02])
    added = add_operating_points(known, [0.002, 0.005, 0.01, 0.02, 0.05], scores[:20_000])
    assert (added[1], added[3]) == known
    assert added[2].threshold == pytest.approx(-np.log(0.01), rel=0.03)  # exponential: exact form
    assert added[2].n_dies == 40_000
    assert [added[0], added[4]] == list(fit_operating_points(scores[:20_000], [0.002, 0.05]))
    assert add_operating_points((), [0.01], scores) == fit_operating_points(scores, [0.01])


def _one_lot_of_four_shifted(n_dies: int = 2500) -> tuple[np.ndarray, np.ndarray]:
    scores, lot = _scores(4 * n_dies), np.repeat(np.arange(4), n_dies)
    return np.where(lot == 0, 1.6 * scores, scores), lot


def test_lots_that_push_a_threshold_past_the_dies_leave_it_unsupported() -> None:
    """Its corrected level is what the dies must show, not the nominal one."""
    scores, lot = _one_lot_of_four_shifted()
    points = fit_operating_points(scores, lot=lot)
    assert [p.supported for p in points] == [False, False, False, False, True, True]
    for p in points:  # the conformal rank leaves one die fewer above it than the level says
        assert p.supported == ((scores > p.threshold).sum() >= 9)
    assert [p.supported for p in fit_operating_points(scores)] == [False] + [True] * 5


@pytest.mark.parametrize("n_lots", [4, 10])
def test_like_lots_support_as_much_as_as_many_dies(n_lots: int) -> None:
    scores, lot = _lots(n_lots, 12_000 // n_lots, 0.0, seed=1)
    with_lots, without = fit_operating_points(scores, lot=lot), fit_operating_points(scores)
    assert [p.supported for p in with_lots] == [p.supported for p in without]
    assert with_lots[2].supported  # 0.5 %, the default


def test_a_point_between_known_ones_is_supported_as_if_it_were_fitted() -> None:
    scores, lot = _one_lot_of_four_shifted(5000)
    known = fit_operating_points(scores, [0.001, 0.05], lot)
    fprs = [0.002, 0.008, 0.012, 0.03]
    added = add_operating_points(known, fprs, scores, lot)
    assert [p.supported for p in added] == [False, False, True, True]
    fitted = fit_operating_points(scores, fprs, lot)
    assert [p.supported for p in added] == [p.supported for p in fitted]


def test_a_large_yield_loss_of_lots_that_differ() -> None:
    scores, lot = _lots(6, 400, 0.4, 0)
    for fpr in (0.7, 0.9, 0.99):
        threshold = fit_operating_points(scores, [fpr], lot)[0].threshold
        assert (scores > threshold).mean() == pytest.approx(fpr, abs=0.08)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 0.5), st.integers(20, 600), st.floats(0.8, 1))
def test_refitted_points_are_finite_and_in_order(
    seed: int, noise: float, n: int, saturates_at: float
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.lognormal(0, 1, n)
    form = np.minimum(scores, np.quantile(scores, saturates_at)) * np.exp(
        noise * rng.standard_normal(n)
    )
    points = fit_operating_points(scores)
    refitted = refit_operating_points(points, scores, form)
    for name in ("threshold", "low", "high"):
        assert np.all(np.diff([getattr(p, name) for p in refitted]) <= 0)
    for p in refitted:
        assert np.isfinite([p.low, p.high]).all()
        assert p.low <= p.threshold <= p.high


@pytest.mark.parametrize("name", ["threshold", "low", "high"])
def test_no_refitted_limit_of_a_rarer_yield_loss_is_below_a_commoner_one(name: str) -> None:
    """A form that saturates below a gap: at the gap's edge, ratios alone turn them round."""
    scores = np.concatenate([np.linspace(1, 2, 380), np.linspace(5, 6, 20)])
    form = np.minimum(scores, 1.95)
    points = [
        OperatingPoint(fpr, *[float(scores[at])] * 3, n_dies=400, supported=True)
        for fpr, at in ((0.05, 379), (0.055, 378))
    ]
    rarer, commoner = refit_operating_points(points, scores, form)
    assert (rarer.fpr, commoner.fpr) == (0.05, 0.055)
    assert getattr(rarer, name) >= getattr(commoner, name) > 1.9


@pytest.mark.parametrize(("die", "off"), [(980, 1e-7), (981, -1e-7)])
def test_a_refitted_threshold_is_clear_of_the_dies_beside_it(die: int, off: float) -> None:
    scores = np.linspace(1, 2, 1000)
    close = float(scores[die] * (1 + off))
    point = OperatingPoint(0.02, close, close, close, 1000, supported=True)
    form = 1.1 * scores
    threshold = refit_operating_points([point], scores, form)[0].threshold
    assert form[980] * (1 + 1e-5) < threshold < form[981] * (1 - 1e-5)
