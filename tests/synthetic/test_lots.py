"""Lots: their dies, what the tester does to them, and that seeds reproduce."""

from __future__ import annotations

import numpy as np
import pytest

from knowngood._errors import UsageError
from knowngood._lot import Lot
from knowngood.stdf import read_stdf, write_lot
from knowngood_export import synthetic


@pytest.fixture(scope="module")
def process():
    return synthetic.process(96, seed=1)


@pytest.fixture(scope="module")
def lot(process):
    return synthetic.make_lot(process, n_wafers=3, dies_per_wafer=600, lot="LOT007", seed=2)


def _same(a: Lot, b: Lot) -> bool:
    return np.array_equal(a.values, b.values, equal_nan=True) and all(
        np.array_equal(getattr(a.dies, name), getattr(b.dies, name))
        for name in ("x", "y", "site", "soft_bin", "tester_pass", "part_id", "wafer", "attempt")
    )


def test_same_arguments_same_lot_whatever_came_before(process, lot):
    synthetic.make_lot(process, n_wafers=1, dies_per_wafer=50, lot="OTHER")
    again = synthetic.make_lot(process, n_wafers=3, dies_per_wafer=600, lot="LOT007", seed=2)
    assert _same(lot, again)


def test_a_wafer_does_not_depend_on_how_many_there_are(process, lot):
    one = synthetic.make_lot(process, n_wafers=1, dies_per_wafer=600, lot="LOT007", seed=2)
    first = lot.values[lot.dies.wafer == "01"]
    assert np.array_equal(one.values, first, equal_nan=True)


@pytest.mark.parametrize("other", [{"lot": "LOT008", "seed": 2}, {"lot": "LOT007", "seed": 3}])
def test_another_lot_or_seed_gives_other_dies(process, lot, other):
    changed = synthetic.make_lot(process, n_wafers=3, dies_per_wafer=600, **other)
    assert not np.array_equal(changed.values[:600, 0], lot.values[:600, 0])


def test_the_tester_passes_exactly_what_is_within_limits(process, lot):
    low, high = process.limits.T
    outside = ((lot.values < low) | (lot.values > high)).any(axis=1)
    assert np.array_equal(lot.dies.tester_pass == 0, outside)
    assert np.array_equal(lot.dies.hard_bin == 1, ~outside)
    assert (lot.dies.soft_bin[outside] >= 100).all()
    assert len(np.unique(lot.dies.soft_bin[outside])) > 5


def test_fail_and_missing_rates(lot):
    first = lot.dies.attempt == 1
    passed = lot.dies.tester_pass == 1
    assert 0.015 < 1 - passed[first].mean() < 0.05
    assert 0.001 < np.isnan(lot.values[passed]).mean() < 0.003


def test_stop_on_fail_leaves_no_result_after_the_first_fail(process, lot):
    low, high = process.limits.T
    failed = lot.dies.tester_pass == 0
    outside = (lot.values < low) | (lot.values > high)
    assert (outside[failed].sum(axis=1) == 1).all()
    for row in np.flatnonzero(failed):
        assert np.isnan(lot.values[row, outside[row].argmax() + 1 :]).all()


def test_without_stop_on_fail_fails_are_logged_to_the_end(process):
    lot = synthetic.make_lot(
        process, n_wafers=1, dies_per_wafer=500, fail_rate=0.2, stop_on_fail=False, missing=0.0
    )
    complete = ~np.isnan(lot.values).any(axis=1)
    assert complete[~lot.dies.is_abnormal].all()
    assert lot.dies.is_abnormal.any()
    assert not (lot.dies.is_abnormal & (lot.dies.tester_pass == 1)).any()


def test_retests_come_after_their_wafer_and_cure_some(process):
    lot = synthetic.make_lot(process, n_wafers=1, dies_per_wafer=800, fail_rate=0.15)
    again = np.flatnonzero(lot.dies.attempt == 2)
    assert again.min() == 800
    seen = {
        (x, y): i for i, (x, y) in enumerate(zip(lot.dies.x, lot.dies.y, strict=True)) if i < 800
    }
    first = np.array([seen[lot.dies.x[i], lot.dies.y[i]] for i in again])
    assert (lot.dies.tester_pass[first] == 0).all()
    assert not lot.dies.is_final[first].any()
    assert np.array_equal(lot.dies.site[again], lot.dies.site[first])
    assert 0.15 < (lot.dies.tester_pass[again] == 1).mean() < 0.5


def test_dies_form_a_round_wafer_without_holes(lot):
    on_wafer = (lot.dies.wafer == "02") & (lot.dies.attempt == 1)
    x, y = lot.dies.x[on_wafer].astype(float), lot.dies.y[on_wafer].astype(float)
    assert len(set(zip(x, y, strict=True))) == 600
    radius = np.hypot(x - (x.min() + x.max()) / 2, y - (y.min() + y.max()) / 2)
    assert radius.max() < 1.05 * np.sqrt(600 / np.pi) + 1


def test_fails_crowd_at_the_edge(process):
    lot = synthetic.make_lot(process, n_wafers=2, dies_per_wafer=2000, fail_rate=0.1)
    centre = (lot.dies.x.max() + 1) / 2
    radius = np.hypot(lot.dies.x - centre, lot.dies.y - centre)
    failed = (lot.dies.tester_pass == 0)[lot.dies.attempt == 1]
    is_edge = (radius > np.quantile(radius, 0.8))[lot.dies.attempt == 1]
    assert failed[is_edge].mean() > 1.5 * failed[~is_edge].mean()


def test_sites_differ_the_same_way_in_every_lot(process):
    offsets = []
    for name in ("A", "B"):
        lot = synthetic.make_lot(process, n_wafers=2, dies_per_wafer=2000, lot=name, fail_rate=0.0)
        medians = [np.nanmedian(lot.values[lot.dies.site == s], axis=0) for s in (1, 2, 3, 4)]
        offsets.append((np.array(medians) - np.mean(medians, axis=0)) / process.sigma)
    assert np.corrcoef(offsets[0].ravel(), offsets[1].ravel())[0, 1] > 0.9
    assert 0.7 < np.ptp(offsets[0], axis=0).max() < 3.0


def test_survives_stdf(tmp_path, process, lot):
    write_lot(tmp_path / "lot.stdf", lot)
    read = read_stdf(tmp_path / "lot.stdf")
    column = {t.key: i for i, t in enumerate(read.schema.tests)}
    order = [column[t.key] for t in process.schema.tests]
    assert read.schema.select(order).tests == process.schema.tests
    key = {(w, x, y, a): i for i, (w, x, y, a) in enumerate(_identity(read))}
    rows = [key[identity] for identity in _identity(lot)]
    assert np.array_equal(read.values[rows][:, order], lot.values, equal_nan=True)
    assert np.array_equal(read.dies.tester_pass[rows], lot.dies.tester_pass)
    assert np.array_equal(read.dies.is_abnormal[rows], lot.dies.is_abnormal)


def _identity(lot: Lot):
    dies = lot.dies
    return list(
        zip(dies.wafer, dies.x.tolist(), dies.y.tolist(), dies.attempt.tolist(), strict=True)
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_wafers": 0},
        {"dies_per_wafer": 0},
        {"sites": 0},
        {"sites": 256},
        {"seed": -1},
        {"missing": 1.5},
        {"fail_rate": -0.1},
        {"retest_rate": 2.0},
    ],
)
def test_refuses(process, arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        synthetic.make_lot(process, **arguments)


def test_one_die(process):
    lot = synthetic.make_lot(process, n_wafers=1, dies_per_wafer=1, fail_rate=0.0)
    assert lot.values.shape == (1, 96)
