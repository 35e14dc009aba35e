"""Heads: residual scales in closed form, and scores that mean the same whatever is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood._forward import forward
from knowngood._network import Dense, Head, Network, Scaler, Screen
from knowngood._schema import Schema
from knowngood_quantize.heads import (
    HeadCandidate,
    TrainingDies,
    fit_head,
    fit_heads,
    residual_sigma,
    unfitted_head,
)
from knowngood_quantize.yardstick import missing_pattern_check

N_TESTS = 60


def _plain(n_tests: int = N_TESTS) -> Network:
    """No layers: the residual is u, and u is the value."""
    scaler = Scaler(np.array([-1], np.int32), np.zeros((1, n_tests)), np.ones((1, n_tests)))
    return Network(Screen(Schema.anonymous(n_tests), scaler, unfitted_head(n_tests)), ())


def _dies(n: int, n_tests: int = N_TESTS, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, n_tests)).astype(np.float32)


def _prefixes(n: int, fewest: int = 20, seed: int = 9) -> np.ndarray:
    stop = np.random.default_rng(seed).integers(fewest, N_TESTS, n)
    return np.arange(N_TESTS) >= stop[:, None]


def _with(network: Network, head: Head) -> Network:
    return replace(network, screen=replace(network.screen, head=head))


def _score(network: Network):
    return lambda values, group: forward(network, values, group).scores


def _imputing_network() -> tuple[Network, np.ndarray, np.ndarray]:
    """Five factors, and a linear network that expects every test: absence raises residuals."""
    rng = np.random.default_rng(4)
    loadings = rng.standard_normal((N_TESTS, 5)) / np.sqrt(5)
    axes = np.linalg.svd(loadings, full_matrices=False)[0].astype(np.float32)
    layers = (
        Dense(axes.T.copy(), np.zeros(5, np.float32)),
        Dense(axes, np.zeros(N_TESTS, np.float32)),
    )
    factors = rng.standard_normal((4000, 5))
    noise = rng.standard_normal((4000, N_TESTS))
    values = (factors @ loadings.T + 0.6 * noise).astype(np.float32)
    return replace(_plain(), layers=layers), values[:2000], values[2000:]


def test_sigma_of_gaussian_residuals_is_their_sigma() -> None:
    scale = np.array([0.1, 1.0, 7.0])
    residual = (_dies(20_000, 3) * scale).astype(np.float32)
    sigma = residual_sigma(residual, np.ones(residual.shape, bool))
    np.testing.assert_allclose(sigma, scale, rtol=0.08)


def test_sigma_follows_the_tail_where_quartiles_are_blind() -> None:
    rng = np.random.default_rng(2)
    coarse = (rng.random(5000) < 0.02) * 1.0  # 98 % on one code: IQR 0
    heavy = rng.standard_t(3, 5000)
    residual = np.column_stack([coarse, heavy]).astype(np.float32)
    sigma = residual_sigma(residual, np.ones(residual.shape, bool))
    gaussian = stats.norm.ppf(0.9995)
    assert sigma[0] == pytest.approx(1 / gaussian, rel=1e-6)
    assert sigma[1] == pytest.approx(stats.t(3).ppf(0.9995) / gaussian, rel=0.35)


def test_sigma_is_not_set_by_one_die_nor_zero() -> None:
    residual = _dies(400, 3)
    residual[:, 1] = 0
    residual[7] = 1e6
    present = np.ones(residual.shape, bool)
    present[:390, 2] = False
    sigma = residual_sigma(residual, present)
    assert 0.7 < sigma[0] < 1.4
    assert sigma[1] == 0.01
    assert sigma[2] == 1.0  # ten dies say nothing of a tail


def test_training_dies_tell_of_tails_that_few_held_out_ones_do_not_show() -> None:
    """Residuals of training dies are half as large here; their tails have the same shape."""
    rng = np.random.default_rng(2)
    held = rng.standard_t(4, (300, 200)).astype(np.float32)
    training = (0.5 * rng.standard_t(4, (8000, 200))).astype(np.float32)
    truth = stats.t(4).ppf(0.9995) / stats.norm.ppf(0.9995)
    network = _plain(200)
    alone = 1 / fit_head(network, held).residual_weight
    both = 1 / fit_head(network, held, training=TrainingDies(training)).residual_weight
    assert np.median(np.abs(np.log(both / truth))) < 0.1  # which their spread leaves uncertain
    assert np.median(np.abs(np.log(alone / truth))) > 0.15
    assert np.median(alone / truth) < 0.85  # 300 dies reach no further into the tail


def test_training_dies_do_not_say_how_large_a_held_out_residual_is() -> None:
    held, training = _dies(2000), _dies(4000, seed=1)
    network = _plain()
    expected = fit_head(network, held, kind="normalized", training=TrainingDies(training))
    shrunk = TrainingDies(training * np.float32(0.1))
    found = fit_head(network, held, kind="normalized", training=shrunk)
    np.testing.assert_allclose(found.residual_weight, expected.residual_weight, rtol=0.12)
    np.testing.assert_allclose(found.expected_square, expected.expected_square, rtol=0.25)


def test_a_test_that_no_held_out_die_has_keeps_its_own_spread_as_unit() -> None:
    held, training = _dies(400), _dies(4000, seed=1)
    held[15:, 3] = np.nan
    head = fit_head(_plain(), held, training=TrainingDies(7 * training))
    assert head.residual_weight[3] == 1


def test_heads_fitted_together_are_those_fitted_alone() -> None:
    network, fit, _ = _imputing_network()
    candidates = (HeadCandidate("topk", 3), HeadCandidate("mahalanobis"), HeadCandidate("mse"))
    together = fit_heads(network, fit, candidates=candidates, patterns=_prefixes(200), seed=3)
    for candidate, head in zip(candidates, together, strict=True):
        alone = fit_head(
            network, fit, kind=candidate.kind, k=candidate.k or 5, patterns=_prefixes(200), seed=3
        )
        assert (head.kind, head.k, head.min_present) == (alone.kind, alone.k, alone.min_present)
        np.testing.assert_array_equal(head.present_gain, alone.present_gain)
        np.testing.assert_array_equal(head.present_offset, alone.present_offset)
        np.testing.assert_array_equal(head.expected_square, alone.expected_square)


def test_complete_dies_score_by_the_textbook() -> None:
    values = _dies(3000) * np.linspace(0.5, 3, N_TESTS, dtype=np.float32)
    network = _plain()
    mse = _with(network, fit_head(network, values, kind="mse"))
    np.testing.assert_allclose(_score(mse)(values, None), np.mean(values**2, axis=1), rtol=1e-5)

    topk = fit_head(network, values, kind="topk", k=4)
    assert topk.present_gain[N_TESTS] == np.float32(0.25)
    z = np.sort(np.abs(values * topk.residual_weight), axis=1)[:, -4:]
    np.testing.assert_allclose(
        _score(_with(network, topk))(values, None), z.mean(axis=1), rtol=1e-5
    )

    normalized = _with(network, fit_head(network, values, kind="normalized"))
    scores = _score(normalized)(values, None)
    assert np.mean(scores) == pytest.approx(0.9, abs=0.15)  # the tail's scale is a little above rms


@pytest.mark.parametrize("kind", ["mse", "normalized"])
def test_expected_square_against_chi_square(kind: str) -> None:
    """With any tests missing the mean square keeps its mean, on independent tests."""
    values = _dies(4000) * np.geomspace(0.1, 10, N_TESTS).astype(np.float32)
    network = _plain()
    head = fit_head(network, values[:2000], kind=kind, max_missing=0.9)
    masked = values[2000:].copy()
    masked[:, ::2] = np.nan
    scores = _score(_with(network, head))
    complete, partial = scores(values[2000:], None), scores(masked, None)
    assert partial.mean() == pytest.approx(complete.mean(), rel=0.05)


@pytest.mark.parametrize("independent", [True, False])
def test_good_dies_with_missing_tests_are_neither_worse_nor_rejected(independent: bool) -> None:
    if independent:
        network, fit, check = _plain(), _dies(2000), _dies(2000, seed=1)
    else:
        network, fit, check = _imputing_network()
    patterns = _prefixes(200)
    head = fit_head(network, fit, patterns=patterns)
    result = missing_pattern_check(
        _score(_with(network, head)), check, None, _prefixes(200, seed=3)
    )
    assert result.coverage > 0.5
    assert 0.45 <= result.auc <= 0.55
    assert result.yield_loss <= 0.04

    naive = replace(
        head,
        present_gain=np.full_like(head.present_gain, 1 / head.k),
        present_offset=np.zeros_like(head.present_offset),
        min_present=5,
    )
    without = missing_pattern_check(_score(_with(network, naive)), check, None, patterns)
    if independent:  # smaller extremes: masked dies look too good
        assert without.auc < result.auc - 0.02
    else:  # larger residuals: masked dies are rejected
        assert without.yield_loss > 0.06


def test_the_gain_keeps_the_tail_and_the_offset_the_middle() -> None:
    """Residuals of masked dies grow, and their spread grows more: one factor cannot match both."""
    network, fit, check = _imputing_network()
    patterns = np.unique(_prefixes(200, fewest=35), axis=0)
    head = fit_head(network, fit, patterns=patterns, max_missing=0.5)
    assert head.present_gain[40] < 0.9 / head.k
    assert (head.present_offset >= 0).all()
    assert (head.present_gain[N_TESTS], head.present_offset[N_TESTS]) == (np.float32(0.2), 0)

    score = _score(_with(network, head))
    only_gain = replace(head, present_offset=np.zeros_like(head.present_offset))
    best_factor = _score(_with(network, only_gain))
    complete = score(check, None)
    np.testing.assert_array_equal(complete, best_factor(check, None))
    assert missing_pattern_check(best_factor, check, None, patterns).auc < 0.35
    for fpr in (0.02, 0.05):
        result = missing_pattern_check(score, check, None, patterns, fpr=fpr)
        assert 0.45 <= result.auc <= 0.55
        assert result.yield_loss <= 1.5 * fpr


@pytest.mark.parametrize("n_dies", [30, 60])
def test_few_dies_give_a_gain_within_bounds(n_dies: int) -> None:
    network, fit, check = _imputing_network()
    head = fit_head(network, fit[:n_dies], patterns=_prefixes(200), max_missing=0.5)
    factor = head.present_gain[head.min_present :] * head.k
    assert (factor >= 0.2 - 1e-6).all()
    assert (factor <= 1.5 + 1e-6).all()
    score = _score(_with(network, head))
    result = missing_pattern_check(score, check, None, _prefixes(200, seed=3))
    assert 0.35 <= result.auc <= 0.65  # 30 dies know their median to a fifth of a sigma
    assert result.yield_loss <= 0.06


def test_the_gain_of_independent_tests_is_that_of_their_extremes() -> None:
    """k = 1: the median of the largest of m half-normals is known in closed form."""
    network = _plain()
    head = fit_head(
        network, _dies(4000), k=1, residual_weight=np.ones(N_TESTS, np.float32), max_missing=0.6
    )

    def median_of_largest(m: int) -> float:
        return float(stats.halfnorm.ppf(0.5 ** (1 / m)))

    for m in (30, 40, 55):
        ideal = median_of_largest(N_TESTS) / median_of_largest(m)
        assert 1.0 <= head.present_gain[m] <= ideal * 1.03  # the tail may ask for less
    assert head.present_gain[30] > 1.02


def test_how_many_may_be_missing() -> None:
    network, values = _plain(), _dies(1000)
    assert fit_head(network, values, max_missing=0.1).min_present == 54
    assert fit_head(network, values, max_missing=0.0).min_present == 60
    missing = values.copy()
    missing[:300, 10:55] = np.nan  # good dies of this product miss 45 of 60
    assert fit_head(network, missing).min_present <= 15
    assert fit_head(network, values).min_present <= 40  # independent tests: fewer do as well


def test_where_no_gain_helps_dies_are_left_unscored() -> None:
    """Without one of two twins the other's residual explodes: absence makes the score useless."""
    rng = np.random.default_rng(0)
    twin = rng.standard_normal((2000, 30))
    values = np.concatenate([twin, twin], axis=1) + 0.05 * rng.standard_normal((2000, N_TESTS))
    mean = np.kron(np.full((2, 2), 0.5), np.eye(30)).astype(np.float32)
    network = replace(_plain(), layers=(Dense(mean, np.zeros(N_TESTS, np.float32)),))
    head = fit_head(network, values.astype(np.float32))
    assert head.min_present > 55


def test_groups_and_seed_reach_the_scaler_and_the_masks() -> None:
    network, values = _plain(), _dies(500)
    a, b = fit_head(network, values, seed=1), fit_head(network, values, seed=1)
    np.testing.assert_array_equal(a.present_gain, b.present_gain)
    np.testing.assert_array_equal(a.present_offset, b.present_offset)
    scaler = Scaler(
        np.array([-1, 7], np.int32),
        np.zeros((2, N_TESTS)),
        np.array([[1.0], [2.0]]).repeat(N_TESTS, 1),
    )
    grouped = replace(network, screen=replace(network.screen, scaler=scaler))
    doubled = fit_head(grouped, values, np.full(500, 7, np.int32))
    pooled = fit_head(grouped, values)
    np.testing.assert_allclose(doubled.residual_weight * 2, pooled.residual_weight, rtol=1e-5)


@pytest.mark.parametrize("n_tests", [1, 2, 4])
def test_few_tests(n_tests: int) -> None:
    head = fit_head(_plain(n_tests), _dies(100, n_tests))
    assert head.k == n_tests if n_tests < 5 else 5
    assert head.present_gain.shape == head.present_offset.shape == (n_tests + 1,)
    assert 1 <= head.min_present <= n_tests


def test_wrong_arguments() -> None:
    network, values = _plain(), _dies(100)
    with pytest.raises(NotEnoughDataError, match="found 5"):
        fit_head(network, values[:5])
    for wrong in (
        {"kind": "median"},
        {"k": 0},
        {"max_missing": 1.0},
        {"patterns": np.zeros((3, 5), bool)},
    ):
        with pytest.raises(UsageError):
            fit_head(network, values, **wrong)
    with pytest.raises(UsageError, match="60"):
        fit_head(network, values[:, :9])
