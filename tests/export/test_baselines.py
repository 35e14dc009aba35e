"""Baselines against scikit-learn's own T² and PCA, and on data where each must win or lose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA

from knowngood._errors import NotEnoughDataError
from knowngood._forward import forward
from knowngood._network import Network
from knowngood._schema import Schema
from knowngood_export import baselines
from knowngood_export.baselines import Validation, fit_baselines, fit_pat, fit_pca, fit_t2
from knowngood_quantize.injection import standard_defects
from knowngood_quantize.scaling import fit_scaler
from knowngood_quantize.yardstick import detection_at, evaluate

N_TESTS, N_FACTORS = 40, 4
SCHEMA = Schema.anonymous(N_TESTS)


def _dies(n: int, seed: int) -> np.ndarray:
    """Correlated tests in mixed units; no value is beyond 5 sigma, so that nothing is cut."""
    loadings = np.random.default_rng(99).standard_normal((N_TESTS, N_FACTORS))
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, N_FACTORS)) @ loadings.T / 2 + 0.2 * rng.standard_normal(
        (n, N_TESTS)
    )
    z = np.clip(z / z.std(axis=0), -4, 4)
    return (z * np.geomspace(1e-6, 1e3, N_TESTS) + 7).astype(np.float32)


TRAIN, HELD_OUT = _dies(1500, 1), _dies(1500, 2)
SCALER = fit_scaler(TRAIN)
VALIDATION = Validation(HELD_OUT)


def _u(values: np.ndarray) -> np.ndarray:
    return SCALER.standardise(values, SCALER.rows(None, len(values))).astype(np.float64)


def _correlation_units() -> tuple[np.ndarray, np.ndarray]:
    u = _u(TRAIN)
    return (u - u.mean(axis=0)) / u.std(axis=0), (_u(HELD_OUT) - u.mean(axis=0)) / u.std(axis=0)


def _robust_z(values: np.ndarray) -> np.ndarray:
    centre = np.median(TRAIN.astype(np.float64), axis=0)
    low, high = np.quantile(TRAIN.astype(np.float64), (0.25, 0.75), axis=0)
    return np.abs((values - centre) / ((high - low) / 1.34898))


def test_pat_is_the_largest_robust_z_each_test_in_units_of_its_limit() -> None:
    network = fit_pat(TRAIN, None, SCALER, SCHEMA, validation=VALIDATION)
    weight = network.screen.head.residual_weight.astype(np.float64)
    expected = (_robust_z(HELD_OUT) * weight).max(axis=1)
    np.testing.assert_allclose(forward(network, HELD_OUT).scores, expected, rtol=1e-5)
    assert (network.detector, network.layers) == ("pat", ())


def test_pat_is_no_weaker_than_a_common_multiple_of_robust_sigma() -> None:
    skewed = [
        np.column_stack([d, np.exp(2 * (d[:, :1] - d[:, :1].mean()) / d[:, :1].std())])
        for d in (TRAIN, HELD_OUT)
    ]
    train, held_out = (d.astype(np.float32) for d in skewed)
    scaler, schema = fit_scaler(train), Schema.anonymous(N_TESTS + 1)
    network = fit_pat(train, None, scaler, schema, validation=Validation(held_out))
    assert network.screen.head.residual_weight[-1] < 0.5 * network.screen.head.residual_weight[1]


def test_t2_is_the_mahalanobis_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "SHRINKAGE_STEPS", (1.0,))
    network = fit_t2(TRAIN, None, SCALER, SCHEMA, validation=VALIDATION)
    train, held_out = _correlation_units()
    expected = LedoitWolf(assume_centered=True).fit(train).mahalanobis(held_out) / N_TESTS
    # scikit-learn shrinks to mean(diag) = 1 exactly as here
    np.testing.assert_allclose(forward(network, HELD_OUT).scores, expected, rtol=2e-3)
    assert network.detector == "t2"


@pytest.mark.parametrize("n_components", [2, 4, 7])
def test_pca_residual_is_the_reconstruction_error(
    monkeypatch: pytest.MonkeyPatch, n_components: int
) -> None:
    monkeypatch.setattr(baselines, "COMPONENT_STEPS", (n_components,))
    monkeypatch.setattr(baselines, "_parallel_analysis", lambda *_: n_components)
    network = fit_pca(TRAIN, None, SCALER, SCHEMA, validation=VALIDATION)
    train, held_out = _correlation_units()
    pca = PCA(n_components, svd_solver="full").fit(train)
    expected = pca.inverse_transform(pca.transform(held_out)) * _u(TRAIN).std(axis=0) + _u(
        TRAIN
    ).mean(axis=0)
    found = forward(network, HELD_OUT).reconstruction
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert network.widths == (N_TESTS, n_components, N_TESTS)


def test_parallel_analysis_finds_the_factors() -> None:
    moments = baselines._moments(Validation(TRAIN), SCALER)
    assert baselines._parallel_analysis(moments) == N_FACTORS
    noise = np.random.default_rng(0).standard_normal((1500, N_TESTS)).astype(np.float32)
    independent = baselines._moments(Validation(noise), fit_scaler(noise))
    assert baselines._parallel_analysis(independent) <= 2


def test_the_choice_is_made_by_detection() -> None:
    network = fit_pca(TRAIN, None, SCALER, SCHEMA, validation=VALIDATION)
    assert N_FACTORS <= network.widths[1] <= 2 * N_FACTORS  # one more removes nothing but noise
    assert network.screen.head.kind in ("mse", "normalized")


def _detections(networks: list[Network]) -> dict[str, float]:
    good = _dies(1500, 3)
    defects = [d for d in standard_defects(good, seed=1) if d.name == "broken_correlation"]
    scores = {
        n.detector: (lambda values, group, n=n: forward(n, values, group).scores) for n in networks
    }
    evaluation = evaluate(scores, good, None, defects, "")
    return {name: detection_at(evaluation, name, "broken_correlation", 0.02) for name in scores}


def test_broken_correlation_is_seen_by_all_but_pat() -> None:
    fits = [
        f(TRAIN, None, SCALER, SCHEMA, validation=VALIDATION) for f in (fit_pat, fit_t2, fit_pca)
    ]
    detection = _detections(fits)
    assert detection["pat"] < 0.06
    assert detection["t2"] > 0.9
    assert detection["pca"] > 0.9


def test_one_wild_die_does_not_turn_the_axes() -> None:
    wild = TRAIN.copy()
    wild[3] *= 1e4
    clean = fit_t2(TRAIN, None, SCALER, SCHEMA, validation=VALIDATION)
    spoilt = fit_t2(wild, None, SCALER, SCHEMA, validation=VALIDATION)
    assert _detections([spoilt])["t2"] == pytest.approx(_detections([clean])["t2"], abs=0.03)


@pytest.mark.parametrize("fit", [fit_pat, fit_t2, fit_pca])
def test_missing_tests_and_groups(fit) -> None:
    rng = np.random.default_rng(0)
    values = np.where(rng.random(TRAIN.shape) < 0.02, np.nan, TRAIN).astype(np.float32)
    group = rng.integers(1, 4, len(values)).astype(np.int32)
    scaler = fit_scaler(values, group)
    network = fit(values, group, scaler, SCHEMA)
    scores = forward(network, values, group).scores
    assert np.isfinite(scores).mean() > 0.99
    assert np.isnan(forward(network, np.full_like(values[:2], np.nan)).scores).all()


@pytest.mark.parametrize("fit", [fit_pat, fit_t2, fit_pca])
@pytest.mark.parametrize("n_tests", [2, 4, 90])
def test_more_tests_than_dies_and_very_few_tests(fit, n_tests: int) -> None:
    values = np.random.default_rng(1).standard_normal((80, n_tests)).astype(np.float32)
    scaler = fit_scaler(values)
    network = fit(values, None, scaler, Schema.anonymous(n_tests))
    assert np.isfinite(forward(network, values).scores).all()
    assert all(np.isfinite(layer.weight).all() for layer in network.layers)


def test_more_tests_than_dies_against_the_full_matrix() -> None:
    """The small Gram matrix gives the same whitening as the singular covariance itself."""
    values = np.random.default_rng(2).standard_normal((60, 90)).astype(np.float32)
    moments = baselines._moments(Validation(values), fit_scaler(values))
    u = baselines._winsorised(Validation(values), fit_scaler(values))
    correlation = np.corrcoef(u.T)
    shrunk = 0.7 * correlation + 0.3 * np.eye(90)
    layer = baselines._whitening(moments, 0.3)
    whitener = (np.eye(90) - layer.weight.astype(np.float64)) * u.std(axis=0)
    np.testing.assert_allclose(whitener @ shrunk @ whitener.T, np.eye(90), atol=1e-4)


def test_all_three_at_once() -> None:
    together = fit_baselines(TRAIN, None, SCALER, SCHEMA, validation=VALIDATION)
    assert [n.detector for n in together] == ["pat", "t2", "pca"]
    for network, fit in zip(together, (fit_pat, fit_t2, fit_pca), strict=True):
        alone = fit(TRAIN, None, SCALER, SCHEMA, validation=VALIDATION)
        np.testing.assert_array_equal(
            forward(network, HELD_OUT).scores, forward(alone, HELD_OUT).scores
        )


def test_too_few_dies() -> None:
    with pytest.raises(NotEnoughDataError, match="30 good dies"):
        fit_t2(TRAIN[:20], None, SCALER, SCHEMA)


def test_same_dies_same_baseline() -> None:
    first, second = (fit_pca(TRAIN, None, SCALER, SCHEMA) for _ in range(2))
    assert first.screen.head.kind == second.screen.head.kind
    for a, b in zip(first.layers, second.layers, strict=True):
        np.testing.assert_array_equal(a.weight, b.weight)
    assert replace(first, layers=()).widths == (N_TESTS,)
