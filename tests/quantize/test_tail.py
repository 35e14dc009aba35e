"""The generalised Pareto tail: SciPy's fit and quantiles, and how often it is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from knowngood_quantize._tail import Tail


def _tail_of(shape: float, n: int, seed: int = 0) -> Tail:
    rng = np.random.default_rng(seed)
    excess = stats.genpareto.rvs(shape, scale=2.0, size=n, random_state=rng)
    return Tail(10.0, 0.1, excess)


@pytest.mark.parametrize("shape", [-0.25, 0.0, 0.3])
def test_many_exceedances_give_the_quantiles_of_scipys_fit(shape: float) -> None:
    tail = _tail_of(shape, 3000)
    found, _, scale = stats.genpareto.fit(tail.excess, floc=0)
    for share in (0.05, 0.01, 0.001):
        expected = 10 + stats.genpareto.isf(share / 0.1, found, scale=scale)
        assert tail.quantile(share) == pytest.approx(expected, rel=0.03)
        low, high = tail.interval(share, 0.025)
        assert low < expected < high


def test_few_exceedances_are_drawn_to_the_exponential_tail() -> None:
    """Twelve exceedances say next to nothing of the shape; SciPy's fit goes wherever they lead."""
    seeds = range(30)
    own = [_tail_of(0.0, 12, seed).quantile(0.001) for seed in seeds]
    free = []
    for seed in seeds:
        shape, _, scale = stats.genpareto.fit(_tail_of(0.0, 12, seed).excess, floc=0)
        free.append(10 + stats.genpareto.isf(0.01, shape, scale=scale))
    true = 10 + stats.expon.isf(0.01, scale=2.0)
    assert np.std(own) < np.std(free) / 2
    assert np.median(own) == pytest.approx(true, rel=0.25)


@pytest.mark.parametrize(
    "scores", [stats.gumbel_r(3, 0.3), stats.gamma(5.0), stats.expon(), stats.t(5)]
)
@pytest.mark.parametrize(("n", "share"), [(2300, 0.001), (500, 0.005)])
def test_on_average_it_loses_what_it_says(scores: Any, n: int, share: float) -> None:
    rng = np.random.default_rng(7)
    tails = [Tail.of(np.sort(scores.rvs(n, random_state=rng))) for _ in range(60)]
    loss = [scores.sf(tail.quantile(share)) for tail in tails]
    assert np.mean(loss) == pytest.approx(share, rel=0.3)
    low, high = np.transpose([tail.interval(share, 0.025) for tail in tails])
    covered = (low <= scores.isf(share)) & (scores.isf(share) <= high)
    assert covered.mean() >= 0.88


def test_dies_that_count_less_say_less() -> None:
    tail = _tail_of(0.0, 200)
    low, high = tail.interval(0.001, 0.025)
    lower, higher = tail.interval(0.001, 0.025, inflation=20.0)
    assert lower < low < high < higher


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(1e-3, 1e3), min_size=20, max_size=100),
    st.floats(1e-5, 0.02),
    st.floats(1e-6, 1e6),
)
def test_any_scores_in_any_unit(values: list[float], share: float, unit: float) -> None:
    ordered = np.sort(np.array(values, dtype=np.float64))
    tail, scaled = Tail.of(ordered), Tail.of(ordered * unit)
    assert np.isfinite(tail.quantile(share))
    assert tail.quantile(share) >= tail.start
    assert tail.quantile(share / 2) >= tail.quantile(share)
    assert scaled.quantile(share) == pytest.approx(tail.quantile(share) * unit, rel=1e-6)


def test_equal_scores_have_no_tail() -> None:
    tail = Tail.of(np.full(100, 2.5))
    assert tail.quantile(0.001) == 2.5
    assert tail.interval(0.001, 0.025) == (2.5, 2.5)


def test_the_tail_starts_further_out_with_many_dies() -> None:
    ordered = np.sort(np.random.default_rng(0).exponential(size=50_000))
    assert len(Tail.of(ordered).excess) == 500
    assert len(Tail.of(ordered[:2000]).excess) == 200
