"""Defects in synthetic dies: within limits, of the size promised, seen by who should see them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from knowngood._errors import NotEnoughDataError, UsageError
from knowngood_export import synthetic
from knowngood_export.synthetic import DefectClass


@pytest.fixture(scope="module")
def process():
    return synthetic.process(512, seed=0)


@pytest.mark.parametrize("defect", DefectClass)
def test_every_defective_die_still_passes(process, defect):
    made = synthetic.make_defective(process, 100, defect=defect)
    low, high = process.limits.T
    assert made.values.shape == (100, 512)
    assert not ((made.values < low) | (made.values > high)).any()
    assert made.touched.any(axis=1).all()
    assert np.array_equal(np.isnan(made.values), np.isnan(made.counterparts))


def test_a_spike_is_one_test_4_to_8_sigma_out(process):
    made = synthetic.make_defective(process, 200, defect="spike")
    assert (made.touched.sum(axis=1) == 1).all()
    z = ((made.values - process.centre) / process.sigma)[made.touched]
    assert np.abs(z).min() > 3.99
    assert np.abs(z).max() < 8.01
    assert 0.4 < (z < 0).mean() < 0.6


def _shift(process, made):
    moved = (made.values.astype(np.float64) - made.counterparts) / process.sigma
    return [row[touched] for row, touched in zip(moved, made.touched, strict=True)]


def test_a_droop_lowers_tests_of_one_voltage_block(process):
    made = synthetic.make_defective(process, 100, defect="droop")
    voltages = process.columns_of("voltage")
    touched_by_block = np.array([made.touched[:, b.columns].any(axis=1) for b in process.blocks])
    assert (touched_by_block.sum(axis=0) == 1).all()
    assert not np.delete(made.touched, voltages, axis=1).any()
    sizes = np.array([row.mean() for row in _shift(process, made)])
    assert (sizes < -1.2).all()
    assert -2.6 < sizes.mean() < -2.0


def test_timing_defects_slow_paths_and_oscillators(process):
    made = synthetic.make_defective(process, 100, defect="timing")
    delays, speeds = process.columns_of("timing"), process.columns_of("frequency")
    change = made.values.astype(np.float64) - made.counterparts
    assert (change[:, delays][made.touched[:, delays]] > 0).all()
    assert (change[:, speeds][made.touched[:, speeds]] < 0).all()
    assert made.touched[:, delays].any()
    assert made.touched[:, speeds].any()
    assert not np.delete(made.touched, np.concatenate([delays, speeds]), axis=1).any()


def test_broken_correlation_takes_values_of_other_good_dies(process):
    lot = synthetic.make_lot(process, n_wafers=1, dies_per_wafer=300)
    made = synthetic.inject_defects(process, lot, "broken_correlation")
    passed = lot.values[lot.dies.tester_pass == 1]
    for column in range(0, 512, 37):
        present = made.values[~np.isnan(made.values[:, column]), column]
        assert np.isin(present, passed[:, column]).all()


def test_source_rows_are_passing_final_rows_of_the_lot(process):
    lot = synthetic.make_lot(process, n_wafers=1, dies_per_wafer=300, fail_rate=0.3)
    made = synthetic.inject_defects(process, lot, "droop")
    rows = made.source_rows
    assert (lot.dies.tester_pass[rows] == 1).all()
    assert lot.dies.is_final[rows].all()
    expected = ((lot.dies.tester_pass == 1) & lot.dies.is_final).sum()
    assert len(made) + made.n_impossible == expected
    same = (made.values == lot.values[rows]) | np.isnan(made.values)
    assert same.mean() > 0.9


def test_reproducible_and_independent_between_classes(process):
    first = synthetic.make_defective(process, 20, defect="droop", seed=5)
    synthetic.make_defective(process, 20, defect="spike", seed=5)
    again = synthetic.make_defective(process, 20, defect="droop", seed=5)
    other = synthetic.make_defective(process, 20, defect="droop", seed=6)
    assert np.array_equal(first.values, again.values, equal_nan=True)
    assert not np.array_equal(first.values, other.values, equal_nan=True)


def _z(process, values):
    z = (values.astype(np.float64) - process.centre) / process.sigma
    return np.where(np.isnan(z), 0.0, z)


def test_a_limit_screen_misses_broken_correlation_and_a_covariance_sees_it(process):
    """PAT sees it only by chance (2 % at 2 % yield loss); Hotelling's T² most of it."""
    train = synthetic.make_lot(process, n_wafers=3, dies_per_wafer=1000, lot="A", fail_rate=0.0)
    held_out = synthetic.make_lot(process, n_wafers=1, dies_per_wafer=1000, lot="B", fail_rate=0.0)
    bad = synthetic.inject_defects(process, held_out, "broken_correlation")
    good_z, bad_z = _z(process, held_out.values), _z(process, bad.values)
    model = LedoitWolf().fit(np.clip(_z(process, train.values), -10, 10))
    good_pat, bad_pat = np.abs(good_z).max(axis=1), np.abs(bad_z).max(axis=1)
    assert (bad_pat > np.quantile(good_pat, 0.98)).mean() < 0.035
    good_t2, bad_t2 = model.mahalanobis(good_z), model.mahalanobis(bad_z)
    assert 0.6 < (bad_t2 > np.quantile(good_t2, 0.98)).mean() < 0.99


def test_refuses_unknown_class_and_foreign_lot(process):
    with pytest.raises(UsageError, match="spike"):
        synthetic.make_defective(process, 5, defect="gremlin")
    with pytest.raises(UsageError, match="n must be"):
        synthetic.make_defective(process, 0, defect="spike")
    foreign = synthetic.make_lot(synthetic.process(16), n_wafers=1, dies_per_wafer=20)
    with pytest.raises(UsageError, match="not of this process"):
        synthetic.inject_defects(process, foreign, "spike")


def test_says_so_where_a_process_has_no_such_tests():
    with pytest.raises(NotEnoughDataError, match="timing"):
        synthetic.make_defective(synthetic.process(4), 5, defect="timing")
