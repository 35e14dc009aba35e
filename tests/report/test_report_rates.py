from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from knowngood.report._rates import Rate, binomial_interval


@given(st.integers(1, 30_000), st.floats(0, 1))
def test_the_interval_is_clopper_and_pearson(n: int, share: float) -> None:
    k = min(n, round(share * n))
    oracle = binomtest(k, n).proportion_ci(0.95, method="exact")
    assert binomial_interval(k, n) == pytest.approx((oracle.low, oracle.high), rel=1e-6, abs=1e-12)


def test_a_published_interval() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 857, table I: 15 of 148, exact method
    assert binomial_interval(15, 148) == pytest.approx((0.0578, 0.1617), abs=5e-5)


def test_without_dies_nothing_is_known() -> None:
    rate = Rate.of(0, 0)
    assert math.isnan(rate.share)
    assert (rate.low, rate.high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("k", "n", "nominal", "expected"),
    [(50, 1000, 0.005, "above"), (5, 1000, 0.005, "as expected"), (0, 5000, 0.005, "below")],
)
def test_comparison_with_nominal(k: int, n: int, nominal: float, expected: str) -> None:
    assert Rate.of(k, n).compared_with(nominal) == expected
