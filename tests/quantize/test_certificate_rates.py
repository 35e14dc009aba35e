"""Exact intervals and rank correlation beside scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from knowngood_quantize.certificate import Rate
from knowngood_quantize.certificate._rank_correlation import spearman


@given(st.integers(1, 200_000), st.floats(0, 1), st.booleans())
def test_bounds_are_clopper_and_pearsons(n, share, is_rare):
    count = round(share * (min(n, 30) if is_rare else n))
    rate = Rate.of(count, n)
    exact = stats.binomtest(count, n).proportion_ci(0.95, method="exact")
    assert rate.low == pytest.approx(exact.low, rel=1e-5, abs=1e-12)
    assert rate.high == pytest.approx(exact.high, rel=1e-5, abs=1e-12)


def test_no_flip_in_ten_thousand_dies_still_allows_three_point_seven():
    rate = Rate.of(0, 10_000)
    assert (rate.low, rate.share) == (0, 0)
    assert 1e4 * rate.high == pytest.approx(3.688, abs=1e-3)  # 1 − 0.025^(1/n)


def test_without_dies_nothing_is_known():
    assert Rate.of(0, 0) == Rate(0, 0, 0.0, 1.0)
    assert Rate.of(0, 0).per_10_000 == 0


@settings(deadline=None)
@given(st.data(), st.integers(1, 10**9))
def test_any_rate_lies_within_its_own_bounds(data, n):
    """However close so many dies bring bounds of six digits to the share itself."""
    count = data.draw(st.integers(0, n))
    assert Rate.of(count, n).n == n


def test_flips_are_told_per_ten_thousand():
    assert Rate.of(3, 2000).per_10_000 == 15


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(-5, 5)), min_size=3, max_size=60))
def test_rank_correlation_with_ties(pairs):
    a, b = np.array(pairs, dtype=np.float32).T
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert spearman(a, b) is None
    else:
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)


def test_one_die_has_no_rank_correlation():
    assert spearman(np.ones(1), np.ones(1)) is None
