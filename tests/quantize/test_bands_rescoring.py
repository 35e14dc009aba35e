"""Expected rescoring: read off thresholds and tails whose law is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowngood._network import OperatingPoint
from knowngood._sealed import Band
from knowngood_quantize._rescoring import GoodDies, expected_rescoring, share_between

FPRS = (0.0005, 0.001, 0.005, 0.01, 0.02, 0.05)


def points_of(threshold_of):
    return [OperatingPoint(fpr, threshold_of(fpr), 0, 0, 1000, True) for fpr in FPRS]


@given(st.floats(0.5, 12.0), st.floats(0, 3.0), st.floats(0.1, 5.0))
def test_exponential_scores_inside_and_beyond_the_thresholds(lo, width, mean) -> None:
    points = points_of(lambda fpr: -mean * np.log(fpr))
    band = Band(lo * mean, (lo + width) * mean)
    expected = np.exp(-lo) - np.exp(-lo - width)
    assert share_between(points, band) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_all_dies_lie_above_a_very_low_score() -> None:
    assert share_between(points_of(lambda fpr: -np.log(fpr)), Band(-1e6, 1e6)) == 1


def test_without_two_thresholds_the_dies_themselves_are_counted() -> None:
    good = GoodDies(np.arange(100, dtype=np.float32), np.ones((100, 2), np.float32))
    points = points_of(lambda fpr: 50.0)
    assert share_between(points, Band(40, 59)) is None
    assert expected_rescoring(points, Band(40, 59), good, 0.01) == pytest.approx(0.21)


def test_the_share_beyond_scale_limits_of_exponential_magnitudes() -> None:
    rng = np.random.default_rng(0)
    largest = rng.exponential(size=20_000)
    magnitudes = np.column_stack([largest, 0.5 * largest]).astype(np.float32)
    good = GoodDies(np.zeros(20_000, np.float32), magnitudes)
    fifth = np.sort(magnitudes, axis=0)[-5]
    np.testing.assert_array_equal(good.largest, fifth)
    for factor in (0.5, 0.7, 1.0):
        expected = np.exp(-factor * fifth[0])
        assert good.share_beyond(factor) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("n_dies", [20, 200, 1000, 12_000])
def test_a_wild_good_die_sets_no_scale_limit(n_dies: int) -> None:
    magnitudes = np.random.default_rng(1).uniform(1, 3, (n_dies, 2)).astype(np.float32)
    tame = GoodDies(np.zeros(n_dies, np.float32), magnitudes.copy())
    magnitudes[n_dies // 2] = 1e6
    wild = GoodDies(np.zeros(n_dies, np.float32), magnitudes)
    np.testing.assert_allclose(wild.largest, tame.largest, rtol=0.2)
    assert (wild.largest <= 3).all()
    assert wild.share_beyond(1.15) == pytest.approx(tame.share_beyond(1.15), rel=0.5, abs=0.002)
    assert not wild.is_within(2.0)[n_dies // 2]
    assert np.count_nonzero(~wild.is_within(1.0)) <= 2 * max(1, n_dies // 5000)


def test_dies_that_are_all_alike_lie_within_any_limit() -> None:
    good = GoodDies(np.zeros(50, np.float32), np.ones((50, 1), np.float32))
    assert good.share_beyond(1.0) == 0
