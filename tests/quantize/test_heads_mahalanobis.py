"""The mahalanobis head against covariances written out, sklearn's Ledoit–Wolf, and odd dies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.linalg import hadamard, sqrtm, subspace_angles
from sklearn.covariance import LedoitWolf

from knowngood._errors import NotEnoughDataError
from knowngood._forward import forward
from knowngood._network import LowRank, Network, Scaler, Screen
from knowngood._schema import Schema
from knowngood_quantize._low_rank import fit_low_rank
from knowngood_quantize.heads import TrainingDies, fit_head, unfitted_head
from knowngood_quantize.thresholds import conformal_thresholds
from knowngood_quantize.yardstick import missing_pattern_check

N_TESTS = 32
NOISE = 0.3
SCALE = np.geomspace(0.01, 50, N_TESTS)
LOADINGS = hadamard(N_TESTS)[:, [1, 6]] * np.sqrt((1 - NOISE**2) / 2)
"""Two axes that every test shares equally: unit variance in all, (0.3)² of it its own."""
COVARIANCE = np.outer(SCALE, SCALE) * (LOADINGS @ LOADINGS.T + NOISE**2 * np.eye(N_TESTS))
NO_LIMIT = np.inf


def correlated(n: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).multivariate_normal(np.zeros(N_TESTS), COVARIANCE, n)
    return values.astype(np.float32)


def plain(n_tests: int = N_TESTS) -> Network:
    """No layers: the residual is the value."""
    scaler = Scaler(np.array([-1], np.int32), np.zeros((1, n_tests)), np.ones((1, n_tests)))
    return Network(Screen(Schema.anonymous(n_tests), scaler, unfitted_head(n_tests)), ())


def fitted(values: np.ndarray, kind: str = "mahalanobis", **options) -> Network:
    network = plain(values.shape[1])
    head = fit_head(network, values, kind=kind, **options)
    return replace(network, screen=replace(network.screen, head=head))


def score(network: Network, values: np.ndarray, dtype=np.float64) -> np.ndarray:
    return forward(network, values, dtype=dtype).scores


def fit(z: np.ndarray, largest: float = NO_LIMIT) -> LowRank:
    return fit_low_rank(z, ~np.isnan(z), np.full(z.shape[1], largest))


def shares(low_rank: LowRank) -> np.ndarray:
    """1 − √(noise / λ) of each axis, largest first."""
    return np.diag(low_rank.project.astype(np.float64) @ low_rank.subtract)


def test_the_score_is_the_mahalanobis_distance_under_low_rank_plus_diagonal():
    dies, fresh = correlated(4000), correlated(500, seed=1).astype(np.float64)
    network = fitted(dies)
    head = network.screen.head
    weight = head.residual_weight.astype(np.float64)
    rms = np.sqrt(np.square(np.clip(dies * weight, -4, 4)).mean(axis=0))
    share, axes = shares(head.low_rank), head.low_rank.project.T * rms[:, np.newaxis]
    np.testing.assert_allclose(axes.T @ axes, np.eye(2), atol=1e-5)
    covariance = np.eye(N_TESTS) + (axes * (1 / (1 - share) ** 2 - 1)) @ axes.T
    whitened = (fresh * weight / rms) @ sqrtm(np.linalg.inv(covariance)).real
    expected = np.square(whitened * rms).mean(axis=1)
    np.testing.assert_allclose(score(network, fresh.astype(np.float32)), expected, rtol=2e-5)


def test_it_finds_the_distance_under_the_covariance_the_dies_are_drawn_from():
    network, fresh = fitted(correlated(20_000)), correlated(2000, seed=1)
    truth = np.einsum("ij,jk,ik->i", fresh, np.linalg.inv(COVARIANCE), fresh, dtype=np.float64)
    ratio = score(network, fresh) / truth
    np.testing.assert_allclose(ratio / np.median(ratio), 1, atol=0.12)
    normalized = score(fitted(correlated(20_000), "normalized"), fresh)
    assert stats.spearmanr(normalized, truth).statistic < 0.5  # which is not to be had for nothing
    assert stats.spearmanr(score(network, fresh), truth).statistic > 0.99


@pytest.mark.parametrize("n_dies", [400, 60])
def test_eigenvalues_are_those_of_ledoit_and_wolf(n_dies):
    n_tests = 100
    rng = np.random.default_rng(3)
    axes = np.linalg.qr(rng.normal(size=(n_tests, 3)))[0] * [12, 9, 6]
    z = rng.normal(size=(n_dies, 3)) @ axes.T + rng.normal(size=(n_dies, n_tests))
    z = (z / np.sqrt(np.square(z).mean(axis=0))).astype(np.float32)
    covariance = LedoitWolf(assume_centered=True).fit(z.astype(np.float64)).covariance_
    eigenvalues = np.linalg.eigvalsh(covariance)[::-1]
    share = shares(fit(z))
    noise = eigenvalues[len(share) :].mean()
    assert len(share) >= 2
    np.testing.assert_allclose(1 - share, np.sqrt(noise / eigenvalues[: len(share)]), rtol=1e-4)


def test_independent_tests_share_nothing_and_score_as_normalized():
    values = np.random.default_rng(0).normal(size=(3000, 40)).astype(np.float32)
    network = fitted(values)
    assert not network.screen.head.low_rank.project.any()
    assert network.screen.head.low_rank.subtract.shape == (40, 1)
    np.testing.assert_array_equal(
        score(network, values), score(fitted(values, "normalized"), values)
    )


@pytest.mark.parametrize("odd", [[5.0] * N_TESTS, [1e6] * N_TESTS, [1e6, -1e6] + [0] * 30])
def test_one_odd_die_turns_no_axis(odd):
    dies = correlated(300)
    with_odd = np.concatenate([dies, SCALE * np.array([odd])]).astype(np.float32)
    clean, disturbed = (fitted(v).screen.head.low_rank for v in (dies, with_odd))
    assert len(clean.project) == len(disturbed.project) == 2
    assert np.degrees(subspace_angles(clean.project.T, disturbed.project.T).max()) < 3
    np.testing.assert_allclose(np.sort(shares(clean)), np.sort(shares(disturbed)), atol=0.03)


def test_few_dies_give_few_axes_and_too_few_none_at_all():
    ranks = []
    for n_dies in (20, 40, 400):
        network = fitted(correlated(n_dies))
        ranks.append(int(network.screen.head.low_rank.project.any(axis=1).sum()))
        scores = score(network, correlated(200, seed=7))
        assert np.isfinite(scores).all()
        assert (scores >= 0).all()
    assert ranks == sorted(ranks)
    assert ranks[-1] == 2
    with pytest.raises(NotEnoughDataError, match="found 19"):
        fitted(correlated(19))


def test_training_dies_show_axes_that_few_held_out_ones_do_not():
    """An axis with two thirds of a test's variance is noise to 40 dies and plain to 4,000."""
    rng = np.random.default_rng(5)
    axis = np.sign(rng.normal(size=N_TESTS)) / 7

    def dies(n):
        return (rng.normal(size=(n, 1)) * axis + rng.normal(size=(n, N_TESTS))).astype("f4")

    held, training = dies(40), dies(4000)
    alone = fitted(held).screen.head.low_rank
    both = fitted(held, training=TrainingDies(training / 2)).screen.head.low_rank
    assert not alone.project.any()
    assert len(both.project) == 1
    assert np.degrees(subspace_angles(axis[:, np.newaxis], both.project.T).max()) < 8


def test_wide_data_with_few_dies_keep_to_what_these_can_show():
    rng = np.random.default_rng(2)
    shared = rng.normal(size=(80, 1)) * np.sign(rng.normal(size=700))
    values = (shared + rng.normal(size=(80, 700))).astype(np.float32)
    low_rank = fitted(values).screen.head.low_rank
    assert low_rank.project.shape == (1, 700)  # noise alone has eigenvalues up to 16 here
    assert 0.8 < shares(low_rank)[0] < 1


def test_tests_that_are_often_missing_keep_their_part_in_an_axis():
    dies = correlated(6000) / SCALE.astype(np.float32)
    dies[::2, :10] = np.nan
    dies[17] = np.nan
    axes = fit(dies).project.T
    assert np.degrees(subspace_angles(LOADINGS, axes).max()) < 2


def test_absent_tests_take_no_part():
    network = fitted(correlated(2000), max_missing=0.5)
    head, dies = network.screen.head, correlated(50, seed=4)
    dies[:, 20:27] = np.nan
    z = np.nan_to_num(dies.astype(np.float64)) * head.residual_weight
    whitened = z - (z @ head.low_rank.project.T) @ head.low_rank.subtract.T
    whitened[:, 20:27] = 0
    expected = head.expected_square.astype(np.float64)
    share = np.delete(expected, np.s_[20:27]).sum() / expected.mean()
    by_hand = np.square(whitened).sum(axis=1) / share
    np.testing.assert_allclose(score(network, dies), by_hand, rtol=1e-5)


def test_good_dies_with_missing_tests_are_neither_worse_nor_rejected():
    rng = np.random.default_rng(8)
    factors, loadings = rng.normal(size=(6000, 2)), rng.normal(size=(2, N_TESTS)) / 2
    values = (factors @ loadings + rng.normal(size=(6000, N_TESTS))).astype(np.float32)
    network = fitted(values[:3000])
    some = rng.random((300, N_TESTS)) < rng.uniform(0, 0.3, (300, 1))
    check = missing_pattern_check(lambda v, _: score(network, v), values[3000:], None, some)
    assert network.screen.head.low_rank.project.all()
    assert check.coverage > 0.4
    assert 0.45 <= check.auc <= 0.55
    assert check.yield_loss <= 0.04


def test_where_whitening_needs_every_test_dies_with_missing_ones_are_left_unscored():
    """Axes that carry nearly all are not to be taken off without all the tests that share them."""
    network, check = fitted(correlated(3000)), correlated(3000, seed=1)
    some = np.random.default_rng(5).random((300, N_TESTS)) < 0.1
    result = missing_pattern_check(lambda v, _: score(network, v), check, None, some)
    assert result.coverage < 0.25
    assert result.yield_loss <= 0.04


def test_it_sees_a_test_that_leaves_the_others():
    """A sigma of a test is nothing, unless the others that share its axes have not moved."""
    values, good = correlated(3000), correlated(3000, seed=1)
    odd = good.copy()
    rows = np.arange(len(odd))
    odd[rows, rows % N_TESTS] += (2 * SCALE[rows % N_TESTS]).astype(np.float32)
    found = {}
    for kind in ("mse", "normalized", "mahalanobis"):
        network = fitted(values, kind)
        threshold = conformal_thresholds(score(network, good), [0.02])[0]
        found[kind] = float((score(network, odd) > threshold).mean())
    assert found["mahalanobis"] > 0.9
    assert max(found["mse"], found["normalized"]) < 0.3


@settings(max_examples=60, deadline=None)
@given(
    n_dies=st.integers(1, 30),
    n_tests=st.integers(1, 30),
    missing=st.sampled_from([0.0, 0.4, 1.0]),
    kind=st.sampled_from(["normal", "constant", "huge", "zero", "rank one"]),
    seed=st.integers(0, 999),
)
def test_whitening_is_a_contraction_whatever_the_residuals(n_dies, n_tests, missing, kind, seed):
    rng = np.random.default_rng(seed)
    z = {
        "normal": rng.normal(size=(n_dies, n_tests)),
        "constant": np.full((n_dies, n_tests), 3.0),
        "huge": rng.normal(size=(n_dies, n_tests)) * 1e30,
        "zero": np.zeros((n_dies, n_tests)),
        "rank one": rng.normal(size=(n_dies, 1)) * rng.normal(size=n_tests),
    }[kind].astype(np.float32)
    z[rng.random(z.shape) < missing] = np.nan
    low_rank = fit(z, largest=4.0)
    assert low_rank.project.shape == low_rank.subtract.T.shape
    assert 1 <= len(low_rank.project) <= max(1, min(64, n_dies // 4, n_tests // 2))
    assert low_rank.project.dtype == low_rank.subtract.dtype == np.float32
    share = shares(low_rank)
    assert (share >= 0).all()
    assert (share <= 1 + 1e-6).all()
    whitening = np.eye(n_tests) - low_rank.subtract.astype(np.float64) @ low_rank.project
    assert np.abs(np.linalg.eigvals(whitening)).max() <= 1 + 1e-5
