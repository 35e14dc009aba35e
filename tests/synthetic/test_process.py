"""The process: what drives the tests, their magnitudes and their limits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import PolynomialFeatures

from knowngood._errors import UsageError
from knowngood_export import synthetic
from knowngood_export.synthetic._population import draw_factors, draw_lot_effects, measure
from knowngood_export.synthetic._streams import stream
from knowngood_export.synthetic._wafer import die_positions


@pytest.fixture(scope="module", params=["tight", "loose"])
def process(request):
    return synthetic.process(256, request.param, seed=3)


def _dies_at_one_site(process, n_dies):
    effects = draw_lot_effects(process, stream(1, "test"))
    rng = stream(2, "test")
    factors = draw_factors(process, effects, die_positions(n_dies).position, rng)
    return factors, measure(process, effects, factors, np.ones(n_dies, np.int32), rng)


RANGE = {"tight": (0.97, 0.998), "loose": (0.40, 0.70)}


def test_factors_explain_as_much_variance_as_promised(process):
    factors, values = _dies_at_one_site(process, 3000)
    terms = PolynomialFeatures(2).fit_transform(factors)
    fitted = LinearRegression().fit(terms, values).predict(terms)
    freedom = (len(values) - 1) / (len(values) - terms.shape[1])
    explained = 1 - freedom * (values - fitted).var(axis=0) / values.var(axis=0)
    dependent = ~process.is_independent & ~process.is_coded
    low, high = RANGE[process.correlation]
    # the variance of one wafer's factors is known to some 5 %, which moves a middling share most
    margin = 0.01 if process.correlation == "tight" else 0.06
    assert np.quantile(explained[dependent], 0.02) > low - margin
    assert np.quantile(explained[dependent], 0.98) < high + margin
    assert abs(explained[dependent].mean() - (low + high) / 2) < 0.02
    assert np.abs(explained[process.is_independent]).max() < 0.1


def test_few_components_hold_a_tight_process_and_not_a_loose_one(process):
    _, values = _dies_at_one_site(process, 2000)
    dependent = values[:, ~process.is_independent]
    z = (dependent - dependent.mean(axis=0)) / dependent.std(axis=0)
    explained = PCA(process.n_factors).fit(z).explained_variance_ratio_.sum()
    assert explained > 0.94 if process.correlation == "tight" else 0.4 < explained < 0.75


def test_an_autoencoder_has_something_over_a_linear_model():
    process = synthetic.process(128, "tight", seed=5)
    factors, values = _dies_at_one_site(process, 3000)
    linear = LinearRegression().fit(factors, values)
    residual = values - linear.predict(factors)
    quadratic = PolynomialFeatures(2).fit_transform(factors)
    rest = residual - LinearRegression().fit(quadratic, residual).predict(quadratic)
    gain = 1 - rest.var(axis=0) / residual.var(axis=0)
    leakage = process.columns_of("leakage")
    leakage = leakage[~process.is_independent[leakage]]
    assert np.median(gain[leakage]) > 0.3


def test_limits_leave_room_for_good_dies(process):
    low, high = process.limits.T
    widths = np.concatenate([(process.centre - low), (high - process.centre)]) / np.tile(
        process.sigma, 2
    )
    assert widths.min() >= 7.9
    assert np.median(widths[np.isfinite(widths)]) < 13
    assert np.isfinite(high).all()
    assert 0 < np.isinf(low).mean() < 0.2


def test_limits_are_what_stdf_can_store(process):
    finite = process.limits[np.isfinite(process.limits)]
    assert np.array_equal(finite, finite.astype(np.float32).astype(np.float64))


def test_magnitudes_are_those_of_real_files():
    process = synthetic.process()
    units = {t.units for t in process.schema.tests}
    assert {"V", "A", "s", "Hz", "Ohm", ""} == units
    assert np.abs(process.centre).min() < 1e-10
    assert np.abs(process.centre).max() > 1e8
    ratio = np.abs(process.centre) / process.sigma
    assert 1e5 < ratio.max() < 2e6


def test_tests_have_unique_keys_and_a_purpose():
    schema = synthetic.process(2000).schema
    assert len({t.key for t in schema.tests}) == 2000
    assert len({t.number for t in schema.tests}) == 2000
    assert schema.purpose.part_type
    assert schema.purpose.temperature == "25"


def test_coded_tests_are_whole_numbers():
    process = synthetic.process(512)
    codes = synthetic.make_lot(process, n_wafers=1, dies_per_wafer=200).values[:, process.is_coded]
    present = codes[~np.isnan(codes)]
    assert process.is_coded.sum() > 20
    assert np.array_equal(present, np.round(present))


def test_lot_shifts_are_those_of_the_field(process):
    """Published for real lots: median 0.21, 90th percentile 1.1, worst 2.8 sigma."""
    medians = []
    position = np.tile(die_positions(300).position, (3, 1))
    for lot in range(12):
        rng = stream(9, "shift", lot)
        effects = draw_lot_effects(process, rng)
        factors = draw_factors(process, effects, position, rng)
        values = measure(process, effects, factors, np.ones(len(factors), np.int32), rng)
        medians.append(np.median(values, axis=0))
    shifts = np.abs(np.diff(medians, axis=0)) / process.sigma
    assert 0.1 < np.median(shifts) < 0.5
    assert 0.6 < np.quantile(shifts, 0.9) < 1.6
    assert 1.5 < shifts.max() < 5.0


def test_same_seed_same_process():
    first, again = synthetic.process(64, "loose", 4), synthetic.process(64, "loose", 4)
    assert first.schema == again.schema
    assert np.array_equal(first.loadings, again.loadings)
    assert synthetic.process(64, "loose", 5).schema != first.schema


@pytest.mark.parametrize("n_tests", [4, 5, 7, 33, 1000])
def test_blocks_cover_all_tests(n_tests):
    process = synthetic.process(n_tests)
    covered = np.concatenate([b.columns for b in process.blocks])
    assert np.array_equal(covered, np.arange(n_tests))
    assert process.schema.n_tests == n_tests


@pytest.mark.parametrize(
    "arguments", [{"n_tests": 3}, {"n_tests": 20_001}, {"correlation": "none"}, {"seed": -1}]
)
def test_refuses(arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        synthetic.process(**arguments)
