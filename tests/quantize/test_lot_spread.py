"""What lots do to a yield loss: SciPy's beta and t, brute force, and lots of a known spread."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from knowngood_quantize._lot_spread import (
    LotScores,
    beta_quantile,
    compatible_shares,
    student_quantile,
)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.3, 5000), st.floats(0.3, 5000), st.floats(0.005, 0.995))
def test_beta_quantiles(a: float, b: float, probability: float) -> None:
    found = beta_quantile(a, b, probability)
    assert stats.beta.cdf(found, a, b) == pytest.approx(probability, abs=2e-5)


@pytest.mark.parametrize("freedom", [1, 2, 3, 7, 19, 100, 5000])
def test_student_quantiles(freedom: int) -> None:
    assert student_quantile(freedom) == pytest.approx(stats.t.isf(0.025, freedom), rel=1e-4)


@pytest.mark.parametrize(("share", "n"), [(0.02, 2300), (0.02, 500), (0.3, 60), (0.005, 5000)])
def test_compatible_shares_are_those_of_scipys_exact_interval(share: float, n: int) -> None:
    least, largest = compatible_shares(share, n)
    for count in range(0, min(n, 300) + 1, max(1, n // 150)):
        exact = stats.binomtest(count, n).proportion_ci(method="exact")
        assert (exact.low <= share <= exact.high) == (least < count / n < largest)


def test_no_share_is_too_small_where_few_dies_count() -> None:
    assert compatible_shares(0.005, 300.5)[0] == 0.0  # none of 300 is no surprise at 0.5 %
    assert stats.binomtest(0, 300).proportion_ci(method="exact").high > 0.005


def _lots(
    n_lots: int, n_dies: int, between: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    lot = np.repeat(np.arange(n_lots), n_dies)
    return rng.normal(size=n_lots)[lot] * between + rng.normal(size=len(lot)), lot


def test_the_design_effect_is_that_of_the_textbook() -> None:
    """Cochran: equal clusters of m with intraclass correlation ρ have 1 + (m − 1) ρ."""
    rng = np.random.default_rng(0)
    scores, lot = _lots(2000, 50, 1.0, rng)
    above = (scores > 1.0).reshape(2000, 50)
    share = above.mean()
    within = above.var(axis=1, ddof=1).mean()
    rho = (above.mean(axis=1).var(ddof=1) - within / 50) / (share * (1 - share))
    bundles = LotScores(tuple(np.sort(scores[lot == i]) for i in range(2000)), ())
    expected = len(scores) / (1 + 49 * rho)
    assert bundles.effective_dies(1.0) == pytest.approx(expected, rel=0.03)


def test_lots_that_do_not_differ_leave_the_dies_what_they_are() -> None:
    rng = np.random.default_rng(1)
    scores, lot = _lots(40, 500, 0.0, rng)
    spread = LotScores.of(scores, lot)
    assert 0.6 * len(scores) < spread.effective_dies(1.5) <= len(scores)
    assert spread.correction(0.02) == pytest.approx(1.0, abs=0.06)


def test_the_level_is_that_at_which_left_out_lots_lose_the_share() -> None:
    scores, lot = _lots(8, 400, 0.5, np.random.default_rng(2))
    level = 0.02 * LotScores.of(scores, lot).correction(0.02)
    for factor, is_more in ((0.99, False), (1.01, True)):
        above = 0
        for one in range(8):
            others = np.sort(scores[lot != one])
            rank = int(np.ceil((len(others) + 1) * (1 - factor * level)))
            above += (scores[lot == one] > others[rank - 1]).sum()
        assert (above > 0.02 * len(scores)) == is_more


def test_a_new_lot_loses_the_share_on_average() -> None:
    """Where lots differ, the plain quantile of six of them rejects too many of the seventh."""
    rng = np.random.default_rng(3)
    corrected, plain = [], []
    for _ in range(200):
        scores, lot = _lots(6, 300, 0.5, rng)
        level = 0.02 * LotScores.of(scores, lot).correction(0.02)
        total = stats.norm(scale=np.sqrt(1.25))
        corrected.append(total.sf(np.quantile(scores, 1 - level)))
        plain.append(total.sf(np.quantile(scores, 0.98)))
    assert np.mean(plain) > 0.023
    assert np.mean(corrected) == pytest.approx(0.02, rel=0.1)


def test_two_lots_and_bundles_of_lots() -> None:
    scores, lot = _lots(2, 100, 1.0, np.random.default_rng(4))
    assert LotScores.of(scores, lot).correction(0.05) == 1.0
    scores, lot = _lots(120, 30, 1.0, np.random.default_rng(5))
    many = LotScores.of(scores, lot)
    assert len(many.of_lot) == 50
    assert many.n_dies == 3600
    assert {len(s) for s in many.of_lot} == {60, 90}  # whole lots


@pytest.mark.parametrize("share", [0.7, 0.9, 0.999])
def test_a_corrected_level_stays_below_one(share: float) -> None:
    scores, lot = _lots(6, 400, 0.5, np.random.default_rng(6))
    spread = LotScores.of(scores, lot)
    assert share * spread.correction(share) < 1
    assert (scores > np.quantile(scores, 1 - share * spread.correction(share))).mean() > share - 0.1
